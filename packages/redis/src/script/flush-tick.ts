interface Flushable {
  flush(): void;
}

/**
 * Decides when the calls that have gathered are sent.
 *
 * ```
 * quiet --request, nothing in flight--> at the end of the running code (a lone call does not wait)
 * quiet --request, something in flight--> at the end of the event-loop turn (the calls of other requests join)
 * ```
 * Scripts are flushed in the order in which they were registered, whatever the order of the calls.
 */
export class FlushTick {
  private readonly members: Flushable[] = [];
  private inFlight = 0;
  private isScheduled = false;
  private readonly flush = (): void => {
    this.isScheduled = false;
    for (const member of this.members) member.flush();
  };

  register(member: Flushable): void {
    this.members.push(member);
  }

  request(): void {
    if (this.isScheduled) return;
    this.isScheduled = true;
    if (this.inFlight === 0) queueMicrotask(this.flush);
    else setImmediate(this.flush);
  }

  started(): void {
    this.inFlight += 1;
  }

  ended(): void {
    this.inFlight -= 1;
  }
}
