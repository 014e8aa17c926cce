import pg from 'pg';

/** What the server says of advisory locks in one database, asked on a connection of its own. */
export class PostgresLocks {
  private constructor(readonly client: pg.Client) {}

  static async connect(url: string): Promise<PostgresLocks> {
    const client = new pg.Client(url);
    await client.connect();
    return new PostgresLocks(client);
  }

  async count(isGranted: boolean): Promise<number> {
    const { rows } = await this.client.query(
      `SELECT count(*)::int AS n FROM pg_locks WHERE locktype = 'advisory' AND granted = $1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
      [isGranted],
    );
    return rows[0].n;
  }

  /** Backends of lock sessions. */
  async sessions(): Promise<number[]> {
    const { rows } = await this.client.query(
      `SELECT pid FROM pg_stat_activity WHERE application_name = 'lockstep-lock' AND datname = current_database() ORDER BY pid`,
    );
    return rows.map(({ pid }) => pid);
  }

  async terminate(pid: number): Promise<void> {
    await this.client.query('SELECT pg_terminate_backend($1, 5000)', [pid]);
  }

  end(): Promise<void> {
    return this.client.end();
  }
}
