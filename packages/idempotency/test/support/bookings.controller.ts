import { randomUUID } from 'node:crypto';
import { currentIdempotency, Idempotent, NotApplied, OutcomeUnknown } from '@lockstep/idempotency';
import { Sql, Transactional } from '@lockstep/sql';
import {
  BadRequestException,
  Body,
  ConflictException,
  Controller,
  HttpException,
  Inject,
  Injectable,
  NotFoundException,
  Param,
  ParseIntPipe,
  Post,
  Query,
  Res,
  StreamableFile,
} from '@nestjs/common';
import { of } from 'rxjs';
import { gate, ran } from './orders.controller.js';

/** What Express and Fastify responses have in common. */
interface AnyResponse {
  status(code: number): unknown;
  header(name: string, value: string): unknown;
  send(body: object): unknown;
}

/** Of every database. */
export const BOOKING_TABLE = 'CREATE TABLE booking (id varchar(36) PRIMARY KEY, name varchar(100) NOT NULL)';
/** Of those that check a constraint as late as at the commit. */
export const STAY_TABLES = `CREATE TABLE room (name text PRIMARY KEY);
  CREATE TABLE stay (room text REFERENCES room DEFERRABLE INITIALLY DEFERRED)`;

@Injectable()
export class Bookings {
  constructor(@Inject(Sql) private readonly sql: Sql) {}

  @Transactional()
  async book(name: string): Promise<string> {
    const tx = this.sql.requireCurrent('booking');
    const id = randomUUID();
    await tx.execute('INSERT INTO booking (id, name) VALUES ($1, $2)', [id, name]);
    return id;
  }

  async names(): Promise<number> {
    const tx = this.sql.requireCurrent('booking');
    return (await tx.query('SELECT 1 AS one FROM booking')).length;
  }
}

/** Each handler writes a row named by the request before it does whatever else its name says. */
@Controller('bookings')
export class BookingsController {
  constructor(
    @Inject(Sql) private readonly sql: Sql,
    @Inject(Bookings) private readonly bookings: Bookings,
  ) {}

  @Post()
  @Idempotent({ mode: 'transactional' })
  async place(@Body() { name }: { name: string }): Promise<object> {
    const id = await this.bookings.book(name);
    return { id, times: ran(`place ${name}`), recovered: currentIdempotency()?.recovered };
  }

  @Post('held/:name')
  @Idempotent({ mode: 'transactional' })
  async held(@Param('name') name: string): Promise<object> {
    const id = await this.bookings.book(name);
    ran(`held ${name}`);
    await gate(name).opened;
    return { id };
  }

  @Post('at-once/:name')
  @Idempotent({ mode: 'transactional', onConcurrent: 'reject' })
  async atOnce(@Param('name') name: string): Promise<object> {
    return this.held(name);
  }

  @Post('second-connection/:name')
  @Idempotent({ mode: 'transactional' })
  async secondConnection(@Param('name') name: string): Promise<object> {
    const id = await this.bookings.book(name);
    ran(`second ${name}`);
    await gate(name).opened;
    const [row] = await this.sql.query<{ one: number }>('SELECT 1 AS one');
    return { id, ...row };
  }

  @Post('missing/:name')
  @Idempotent({ mode: 'transactional' })
  async missing(@Param('name') name: string, @Res({ passthrough: true }) response: AnyResponse): Promise<never> {
    await this.bookings.book(name);
    response.header('Location', '/elsewhere');
    throw new NotFoundException({ code: 'NO_SUCH_ROOM', times: ran(`missing ${name}`) });
  }

  @Post('conflict/:name')
  @Idempotent({ mode: 'transactional' })
  async conflict(@Param('name') name: string): Promise<never> {
    await this.bookings.book(name);
    throw new ConflictException({ times: ran(`conflict ${name}`) });
  }

  @Post('broken/:name')
  @Idempotent({ mode: 'transactional' })
  async broken(@Param('name') name: string): Promise<object> {
    await this.bookings.book(name);
    const times = ran(`broken ${name}`);
    if (times === 1) throw new Error('broken');
    return { times };
  }

  @Post('not-applied/:name')
  @Idempotent({ mode: 'transactional' })
  async notApplied(@Param('name') name: string): Promise<never> {
    await this.bookings.book(name);
    ran(`not-applied ${name}`);
    throw new NotApplied(new BadRequestException('nothing was done'));
  }

  @Post('outcome-unknown/:name')
  @Idempotent({ mode: 'transactional' })
  async outcomeUnknown(@Param('name') name: string): Promise<never> {
    await this.bookings.book(name);
    ran(`outcome-unknown ${name}`);
    throw new OutcomeUnknown(new HttpException('partner did not answer', 504));
  }

  @Post('kept/:name')
  @Idempotent({ mode: 'transactional', onError: () => 'store' })
  async kept(@Param('name') name: string): Promise<never> {
    await this.bookings.book(name);
    throw new HttpException({ times: ran(`kept ${name}`) }, 503);
  }

  @Post('refusing/:name')
  @Idempotent({ mode: 'transactional' })
  async refusing(
    @Param('name') name: string,
    @Query('status') status = '422',
    @Res({ passthrough: true }) response: AnyResponse,
  ): Promise<object> {
    await this.bookings.book(name);
    response.status(Number(status));
    return { times: ran(`refusing ${name}`) };
  }

  @Post('by-hand/:name')
  @Idempotent({ mode: 'transactional' })
  async byHand(@Param('name') name: string, @Res({ passthrough: true }) response: AnyResponse): Promise<object> {
    await this.bookings.book(name);
    ran(`by-hand ${name}`);
    response.send({ early: true });
    return {};
  }

  @Post('piped/:id')
  @Idempotent({ mode: 'transactional' })
  async piped(@Param('id', ParseIntPipe) id: number): Promise<object> {
    return { id, times: ran('piped') };
  }

  @Post('deferred/:name')
  @Idempotent({ mode: 'transactional' })
  async deferred(@Param('name') name: string): Promise<object> {
    await this.bookings.book(name);
    await this.sql.requireCurrent('stay').execute('INSERT INTO stay VALUES ($1)', [name]);
    return { times: ran(`deferred ${name}`) };
  }

  /** Books where nothing was booked; two at a time cannot both be right. */
  @Post('only/:name')
  @Idempotent({ mode: 'transactional', isolation: 'serializable' })
  async only(@Param('name') name: string, @Res({ passthrough: true }) response: AnyResponse): Promise<object> {
    const before = await this.bookings.names();
    const times = ran(`only ${name}`);
    response.header(`X-Run-${times}`, 'yes');
    response.status(200 + times);
    if (times === 1) await gate(`only ${name}`).opened;
    const { fence, recovered } = currentIdempotency() ?? {};
    await this.bookings.book(name);
    return { before, recovered, fence: String(fence) };
  }

  @Post('stream/:name')
  @Idempotent({ mode: 'transactional' })
  async stream(@Param('name') name: string): Promise<unknown> {
    await this.bookings.book(name);
    return new StreamableFile(Buffer.from(name));
  }

  @Post('observable/:name')
  @Idempotent({ mode: 'transactional' })
  async observable(@Param('name') name: string): Promise<unknown> {
    await this.bookings.book(name);
    return of(name);
  }

  @Post('swallowed/:name')
  @Idempotent({ mode: 'transactional' })
  async swallowed(@Param('name') name: string): Promise<object> {
    await this.bookings.book(name);
    const failure = await this.sql
      .requireCurrent('booking')
      .execute('INSERT INTO nowhere VALUES (1)')
      .catch((error: unknown) => error);
    return { failed: failure instanceof Error };
  }
}
