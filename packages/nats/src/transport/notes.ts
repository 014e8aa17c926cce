import { count } from '@lockstep/core';
import { JsHeaders, jetstream } from '@nats-io/jetstream';
import { headers } from '@nats-io/transport-node';
import type { NatsLink } from '../server/nats-link.js';
import type { RouteNames } from '../server/route-names.js';
import { managerOf } from '../server/route-streams.js';
import type { Parcel } from './parcel.js';

/** What is known of a message beyond how often the server has delivered it. */
interface Note {
  /** Deliveries that count. */
  readonly attempts: number;
  /** How many of the server's deliveries are accounted for. */
  readonly deliveries: number;
  /** Whether the last of those was a try of a suspect that had not ended when this was written. */
  readonly trying: boolean;
}

const VERSION = 1;

/**
 * Notes about single messages, in the stream of their route: the server counts deliveries, and cannot know which of them
 * were postponed, given back unopened or the end of a process. A message that was delivered once has none.
 *
 * Every method throws StoreUnavailableError when the server does not answer, and what the server refused as it is.
 */
export class Notes {
  constructor(
    private readonly link: NatsLink,
    private readonly names: RouteNames,
  ) {}

  /** Completes a parcel that was delivered before by what is known of those deliveries. */
  async recall(parcel: Parcel): Promise<void> {
    const note = await this.read(parcel);
    const { deliveries } = parcel.ticket;
    parcel.hasNote = note !== undefined;
    parcel.attempts = note?.attempts ?? 0;
    // The server may remember less than we wrote: after a power cut it has lost its latest counts.
    const isAccounted = deliveries - 1 <= (note?.deliveries ?? 0);
    const hasDiedTrying = note?.trying === true;
    if (hasDiedTrying) parcel.attempts += 1;
    parcel.isSuspect = hasDiedTrying || !isAccounted;
    if (parcel.isSuspect) count('lockstep.nats.isolated');
  }

  /** The delivery is accounted for, and `attempts` of all so far count. */
  async settled(parcel: Parcel, attempts: number): Promise<void> {
    await this.write(parcel, { attempts, deliveries: parcel.ticket.deliveries, trying: false });
  }

  /** Before a suspect is tried: a process that dies cannot say afterwards which of its messages it was. */
  async trying(parcel: Parcel): Promise<void> {
    const { attempts, ticket } = parcel;
    await this.write(parcel, { attempts, deliveries: ticket.deliveries, trying: true });
  }

  async remove(parcel: Parcel): Promise<void> {
    const filter = this.subject(parcel);
    await this.link.run('transport.note.remove', async (nats, remaining) => {
      const manager = await managerOf(nats, remaining());
      await manager.streams.purge(this.names.stream, { filter });
    });
  }

  private async write(parcel: Parcel, { attempts, deliveries, trying }: Note): Promise<void> {
    const text = JSON.stringify([VERSION, attempts, deliveries, trying]);
    await this.link.run('transport.note.write', async (nats, remaining) => {
      const replacing = headers();
      replacing.set(JsHeaders.RollupHdr, JsHeaders.RollupValueSubject);
      const options = { headers: replacing, timeout: remaining() };
      await jetstream(nats).publish(this.subject(parcel), text, options);
    });
    parcel.hasNote = true;
  }

  private async read(parcel: Parcel): Promise<Note | undefined> {
    const query = { last_by_subj: this.subject(parcel) };
    const stored = await this.link.run('transport.note.read', async (nats, remaining) => {
      const manager = await managerOf(nats, remaining());
      return manager.streams.getMessage(this.names.stream, query);
    });
    const [version, attempts, deliveries, trying] = stored?.json<[number, number, number, boolean]>() ?? [];
    if (version !== VERSION || attempts === undefined || deliveries === undefined) return undefined;
    return { attempts, deliveries, trying: trying === true };
  }

  private subject({ ticket }: Parcel): string {
    return `${this.names.notes}.${ticket.sequence}`;
  }
}
