/** Prints the tour: what was sent, what came back, and whether it was what was promised. */
export class Narrator {
  private failures = 0;
  private chapters = 0;

  get failed(): number {
    return this.failures;
  }

  chapter(title: string): void {
    this.chapters += 1;
    console.log(`\n${this.chapters}. ${title}`);
  }

  say(text: string): void {
    console.log(`   ${text}`);
  }

  sent(text: string): void {
    console.log(`   → ${text}`);
  }

  received(text: string): void {
    console.log(`   ← ${text}`);
  }

  /** A promise of the mall, kept or broken; a broken one makes the tour fail. */
  expect(promise: string, kept: boolean, found: unknown): void {
    if (!kept) this.failures += 1;
    console.log(kept ? `   ✓ ${promise}` : `   ✗ ${promise}; found ${JSON.stringify(found)}`);
  }
}
