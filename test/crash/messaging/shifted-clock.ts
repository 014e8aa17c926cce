/** Arguments of a Node process whose wall clock is so much ahead, or behind; its monotonic clock is not. */
export function shiftedClock(byMs: number): readonly string[] {
  const script = `
    const Real = Date;
    globalThis.Date = class extends Real {
      constructor(...given) { given.length === 0 ? super(Real.now() + ${byMs}) : super(...given); }
      static now() { return Real.now() + ${byMs}; }
    };`;
  return ['--import', `data:text/javascript,${encodeURIComponent(script)}`];
}
