import type {
  EndpointFailure,
  EndpointRecord,
  EndpointSecret,
  EndpointSeen,
  EndpointStore,
} from '../../notification-store.js';
import { ENDPOINT_STATEMENTS } from './endpoint-statements.js';
import { inserted, type NotificationDatabase, storable } from './notification-database.js';

interface EndpointRow {
  readonly id: string;
  readonly url: string;
  readonly secrets: string;
  readonly version: number;
  readonly disabled: string | null;
  readonly reason: string | null;
  readonly failing: string | null;
}

interface SecretJson {
  readonly secret: string;
  readonly until?: number;
}

export class SqlEndpointStore implements EndpointStore {
  private readonly statements: (typeof ENDPOINT_STATEMENTS)['postgres'];

  constructor(private readonly database: NotificationDatabase) {
    this.statements = ENDPOINT_STATEMENTS[database.sql.dialect];
  }

  async find(id: string): Promise<EndpointRecord | undefined> {
    const [row] = await this.database.query<EndpointRow>(this.statements.find, [id]);
    return row && recordOf(row);
  }

  async list(after = '', limit = 100): Promise<readonly EndpointRecord[]> {
    return (await this.database.query<EndpointRow>(this.statements.list, [after, limit])).map(recordOf);
  }

  async write({ id, url, secrets, version }: Parameters<EndpointStore['write']>[0]): Promise<boolean> {
    const { insert, update } = this.statements;
    const list = JSON.stringify(secrets);
    if (version > 0) return (await this.database.execute(update, [id, url, list, version])) === 1;
    return (await inserted(() => this.database.execute(insert, [id, url, list]))).rows === 1;
  }

  async disable(id: string, reason: string): Promise<boolean> {
    return (await this.database.execute(this.statements.disable, [id, storable(reason)])) === 1;
  }

  async enable(id: string): Promise<boolean> {
    return (await this.database.execute(this.statements.enable, [id])) === 1;
  }

  async remove(id: string): Promise<boolean> {
    return (await this.database.execute(this.statements.remove, [id])) === 1;
  }

  async failed({ gapMs, disableAfterMs, ...seen }: EndpointFailure): Promise<boolean> {
    const { failedForTooLong, failed } = this.statements;
    if (await this.changed(seen, failedForTooLong, [gapMs, disableAfterMs])) return true;
    await this.changed(seen, failed, [gapMs]);
    return false;
  }

  async succeeded({ endpoint, version }: EndpointSeen): Promise<void> {
    await this.database.execute(this.statements.succeeded, [endpoint, version]);
  }

  pause(seen: EndpointSeen, forMs: number): Promise<boolean> {
    return this.changed(seen, this.statements.pause, [forMs]);
  }

  gone(seen: EndpointSeen, reason: string): Promise<boolean> {
    return this.changed(seen, this.statements.gone, [storable(reason)]);
  }

  purge(olderThanMs: number): Promise<number> {
    return this.database.execute(this.statements.purge, [olderThanMs]);
  }

  /** False when the endpoint has another version by now. What nobody registered has a row from its first failure on. */
  private async changed(
    { endpoint, url, version }: EndpointSeen,
    statement: string,
    values: readonly unknown[],
  ): Promise<boolean> {
    const { remember } = this.statements;
    if (version === 0 && url !== undefined) await inserted(() => this.database.execute(remember, [endpoint, url]));
    return (await this.database.execute(statement, [endpoint, version, ...values])) === 1;
  }
}

export function secretsOf(text: string): readonly EndpointSecret[] {
  return (JSON.parse(text) as SecretJson[]).map(({ secret, until }) => ({ secret, until }));
}

function recordOf({ id, url, secrets, version, disabled, reason, failing }: EndpointRow): EndpointRecord {
  return {
    id,
    url,
    secrets: secretsOf(secrets),
    version: Number(version),
    disabledAt: timeOf(disabled),
    disabledReason: reason ?? undefined,
    failingSince: timeOf(failing),
  };
}

/** Epoch milliseconds that came as text. */
export function timeOf(text: string | null): number | undefined {
  return text === null ? undefined : Number(text);
}
