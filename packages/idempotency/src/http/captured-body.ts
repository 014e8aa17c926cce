/**
 * The bytes of a body as they pass by. Of one that is longer than the limit, or that broke off, nothing is kept but the
 * reason why.
 */
export class CapturedBody {
  private chunks: Buffer[] = [];
  private length = 0;
  private reason: string | undefined;
  private reasonCause: unknown;
  private whole: Promise<void> | undefined;

  constructor(private readonly maxBytes: number) {}

  /** Why the bytes are not there; undefined while they are. */
  get lost(): { readonly reason: string; readonly cause: unknown } | undefined {
    return this.reason === undefined ? undefined : { reason: this.reason, cause: this.reasonCause };
  }

  /** Whether the bytes come from the source itself, and not from what is written to the response. */
  get hasSource(): boolean {
    return this.whole !== undefined;
  }

  /** From now on the bytes come from a source that is read to its end, whatever becomes of the connection. */
  readFrom(whole: Promise<void>): void {
    this.whole = whole;
  }

  /** Resolves when a source that is read by itself has come to its end. */
  async ended(): Promise<void> {
    await this.whole;
  }

  /** Copies: whoever wrote the chunk may use its memory again. */
  add(chunk: unknown, encoding?: BufferEncoding): void {
    if (this.reason !== undefined) return;
    if (typeof chunk !== 'string' && !(chunk instanceof Uint8Array)) {
      this.lose('made of something else than bytes');
      return;
    }
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk, encoding) : Buffer.from(chunk);
    this.length += bytes.byteLength;
    if (this.length > this.maxBytes) this.lose(`larger than ${this.maxBytes} bytes`);
    else this.chunks.push(bytes);
  }

  lose(reason: string, cause?: unknown): void {
    if (this.reason !== undefined) return;
    this.reason = reason;
    this.reasonCause = cause;
    this.chunks = [];
  }

  bytes(): Buffer {
    return Buffer.concat(this.chunks);
  }
}
