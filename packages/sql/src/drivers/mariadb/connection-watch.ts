import { type MariaDbClient, type PhysicalConnection, physicalOf } from './mariadb-client.js';

type OnError = (error: Error) => void;

/**
 * Listens to every connection of a pool for as long as it lives. The pool itself hears only the first 'error' of each,
 * and an 'error' event without a listener ends the process.
 */
export class ConnectionWatch {
  private readonly known = new WeakMap<PhysicalConnection, OnError>();
  private readonly open = new Set<PhysicalConnection>();
  private readonly loans = new WeakMap<PhysicalConnection, OnError>();
  private readonly gone = new WeakSet<PhysicalConnection>();

  /** @param onIdleLoss hears of a connection that fails while nobody has it on loan */
  constructor(private readonly onIdleLoss: OnError) {}

  /** @returns whether the connection is seen for the first time */
  meet(client: MariaDbClient): boolean {
    const physical = physicalOf(client);
    if (this.known.has(physical)) return false;
    const listener = (error: Error): void => this.hear(physical, error);
    this.known.set(physical, listener);
    this.open.add(physical);
    physical.on('error', listener);
    physical.on('end', () => this.open.delete(physical));
    return true;
  }

  lend(client: MariaDbClient, onError: OnError): void {
    this.loans.set(physicalOf(client), onError);
  }

  takeBack(client: MariaDbClient): void {
    this.loans.delete(physicalOf(client));
  }

  /** It is closed on purpose: what it has to say from now on is no news. */
  dismiss(client: MariaDbClient): void {
    this.takeBack(client);
    this.gone.add(physicalOf(client));
    this.open.delete(physicalOf(client));
  }

  /** Leaves the connections that are open to their owner. */
  stop(): void {
    for (const physical of this.open) {
      const listener = this.known.get(physical);
      if (listener) physical.removeListener('error', listener);
    }
    this.open.clear();
  }

  private hear(physical: PhysicalConnection, error: Error): void {
    const onLoan = this.loans.get(physical);
    if (onLoan) onLoan(error);
    else if (!this.gone.has(physical)) this.onIdleLoss(error);
    this.gone.add(physical);
    this.open.delete(physical);
  }
}
