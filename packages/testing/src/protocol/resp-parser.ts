/** A decoded RESP2 value; an error reply is a value here, because a parser has nobody to throw to. */
export type RespValue = string | number | null | RespError | RespValue[];

export class RespError extends Error {
  override readonly name = 'RespError';
}

interface Decoded {
  value: RespValue;
  end: number;
}

const CRLF = Buffer.from('\r\n');

/** Incremental decoder of RESP2, enough for the commands and replies that test tools exchange. */
export class RespParser {
  private pending: Buffer = Buffer.alloc(0);

  /** Adds bytes and returns every value that is complete now. */
  push(chunk: Buffer): RespValue[] {
    this.pending = Buffer.concat([this.pending, chunk]);
    const values: RespValue[] = [];
    let offset = 0;
    for (let next = decode(this.pending, offset); next !== undefined; next = decode(this.pending, offset)) {
      values.push(next.value);
      offset = next.end;
    }
    this.pending = this.pending.subarray(offset);
    return values;
  }
}

/** Encodes a command as an array of bulk strings. */
export function encodeCommand(args: readonly string[]): string {
  const parts = args.map((arg) => `$${Buffer.byteLength(arg)}\r\n${arg}\r\n`);
  return `*${args.length}\r\n${parts.join('')}`;
}

function decode(buffer: Buffer, start: number): Decoded | undefined {
  const lineEnd = buffer.indexOf(CRLF, start);
  if (lineEnd < 0) return undefined;
  const type = String.fromCharCode(buffer[start] ?? 0);
  const line = buffer.toString('utf8', start + 1, lineEnd);
  const end = lineEnd + 2;
  switch (type) {
    case '+':
      return { value: line, end };
    case '-':
      return { value: new RespError(line), end };
    case ':':
      return { value: Number(line), end };
    case '$':
      return decodeBulk(buffer, end, Number(line));
    case '*':
      return decodeArray(buffer, end, Number(line));
    default:
      throw new RespError(`Not RESP2: a value starts with ${JSON.stringify(type)}`);
  }
}

function decodeBulk(buffer: Buffer, start: number, length: number): Decoded | undefined {
  if (length < 0) return { value: null, end: start };
  if (buffer.length < start + length + 2) return undefined;
  return { value: buffer.toString('utf8', start, start + length), end: start + length + 2 };
}

function decodeArray(buffer: Buffer, start: number, length: number): Decoded | undefined {
  if (length < 0) return { value: null, end: start };
  const items: RespValue[] = [];
  let end = start;
  for (let index = 0; index < length; index += 1) {
    const item = decode(buffer, end);
    if (item === undefined) return undefined;
    items.push(item.value);
    end = item.end;
  }
  return { value: items, end };
}
