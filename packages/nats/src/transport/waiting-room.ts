import type { Parcel } from './parcel.js';

/** Parcels that nobody works on yet, in the order in which their messages were accepted. */
export class WaitingRoom {
  private readonly parcels: Parcel[] = [];

  add(parcel: Parcel): void {
    const { sequence } = parcel.ticket;
    // Most come in order; one that came back goes before those that were accepted after it.
    let at = this.parcels.length;
    while (at > 0 && (this.parcels[at - 1]?.ticket.sequence ?? 0) > sequence) at -= 1;
    this.parcels.splice(at, 0, parcel);
  }

  /** Takes out what `wanted` says. */
  takeWhere(wanted: (parcel: Parcel) => boolean): Parcel[] {
    const taken = this.parcels.filter(wanted);
    this.remove(taken);
    return taken;
  }

  /** Takes the first ones that may go together now: never one of a key that is busy, or behind one that has to wait. */
  takeBatch(limit: number, busy: ReadonlySet<string>): Parcel[] {
    const blocked = new Set(busy);
    const batch: Parcel[] = [];
    for (const parcel of this.parcels) {
      if (batch.length === limit) break;
      if (parcel.key !== undefined && blocked.has(parcel.key)) continue;
      if (parcel.isReady && !parcel.isSuspect) batch.push(parcel);
      else if (parcel.key !== undefined) blocked.add(parcel.key);
    }
    this.remove(batch);
    return batch;
  }

  /** Takes the first suspect that nothing of its key is ahead of. */
  takeSuspect(busy: ReadonlySet<string>): Parcel | undefined {
    const ahead = new Set(busy);
    for (const parcel of this.parcels) {
      const isFirst = parcel.key === undefined || !ahead.has(parcel.key);
      if (isFirst && parcel.isReady && parcel.isSuspect) {
        this.remove([parcel]);
        return parcel;
      }
      if (parcel.key !== undefined) ahead.add(parcel.key);
    }
    return undefined;
  }

  private remove(parcels: readonly Parcel[]): void {
    for (const parcel of parcels) this.parcels.splice(this.parcels.indexOf(parcel), 1);
  }
}
