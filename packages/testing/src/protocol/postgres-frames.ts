/** Splits a stream of Postgres messages `<type><length><body>` into whole ones. */
export class PostgresFrames {
  private pending: Buffer = Buffer.alloc(0);

  /** @param untyped how many messages without a type come first: a client begins with one */
  constructor(private untyped = 0) {}

  /** The messages that are complete with `chunk`; the type of an untyped one is `''`. */
  add(chunk: Buffer): { readonly type: string; readonly bytes: Buffer }[] {
    this.pending = Buffer.concat([this.pending, chunk]);
    const frames: { readonly type: string; readonly bytes: Buffer }[] = [];
    for (;;) {
      const head = this.untyped > 0 ? 0 : 1;
      if (this.pending.length < head + 4) return frames;
      const length = head + this.pending.readInt32BE(head);
      if (this.pending.length < length) return frames;
      const type = head === 0 ? '' : String.fromCharCode(this.pending[0] ?? 0);
      frames.push({ type, bytes: this.pending.subarray(0, length) });
      this.pending = this.pending.subarray(length);
      if (head === 0) this.untyped -= 1;
    }
  }
}
