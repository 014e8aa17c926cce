/** Tells those who listen what happens. What one of them throws, or rejects with, concerns nobody else. */
export class Listeners<Event> {
  private readonly listeners = new Set<(event: Event) => void>();

  /** @param onFailure hears what a listener threw; must not throw itself */
  constructor(private readonly onFailure: (cause: unknown) => void) {}

  get isEmpty(): boolean {
    return this.listeners.size === 0;
  }

  /** Calls `listener` from now on. Returns the function that ends it. */
  subscribe(listener: (event: Event) => void): () => void {
    // One of its own, so that the same function may listen twice.
    const heard = (event: Event): void => listener(event);
    this.listeners.add(heard);
    return () => this.listeners.delete(heard);
  }

  emit(event: Event): void {
    for (const listener of this.listeners) this.tell(listener, event);
  }

  private tell(listener: (event: Event) => void, event: Event): void {
    try {
      // An async function is assignable to a listener, and its rejection would be nobody's.
      const result: unknown = listener(event);
      if (result instanceof Promise) result.catch(this.onFailure);
    } catch (cause) {
      this.onFailure(cause);
    }
  }
}
