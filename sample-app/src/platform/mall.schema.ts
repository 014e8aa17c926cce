import { Sql } from '@lockstep/sql';
import { Inject, Injectable } from '@nestjs/common';

const MIGRATIONS = { name: 'mall', directory: new URL('./migrations/', import.meta.url) };

/** The mall's own tables. Applied when they are first needed, so that the mall starts while its database is down. */
@Injectable()
export class MallSchema {
  constructor(@Inject(Sql) private readonly sql: Sql) {}

  ready(): Promise<void> {
    return this.sql.ensureMigrated(MIGRATIONS);
  }
}
