interface Watcher {
  /** What the watched id was renewed to. */
  id: string;
  readonly ended: () => void;
}

/** Who wants to know of the end of which session. */
export class Watchers {
  private readonly byId = new Map<string, Set<Watcher>>();

  /** @returns ends the watch */
  add(id: string, ended: () => void): () => void {
    const watcher = { id, ended };
    this.byId.set(id, (this.byId.get(id) ?? new Set()).add(watcher));
    return () => {
      const others = this.byId.get(watcher.id);
      others?.delete(watcher);
      if (others?.size === 0) this.byId.delete(watcher.id);
    };
  }

  /** A renewed session is the same one. */
  move(from: string, to: string): void {
    const watchers = this.byId.get(from);
    if (!watchers) return;
    for (const watcher of watchers) watcher.id = to;
    this.byId.delete(from);
    this.byId.set(to, watchers);
  }

  tell(id: string): void {
    const watchers = this.byId.get(id) ?? [];
    this.byId.delete(id);
    for (const { ended } of watchers) ended();
  }
}
