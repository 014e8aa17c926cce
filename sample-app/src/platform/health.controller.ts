import { NoSession } from '@lockstep/session';
import { Controller, Get } from '@nestjs/common';

/** Ready when `SchemaReadyGuard` lets a request through: the database answers and has the mall's tables. */
@Controller('health')
@NoSession()
export class HealthController {
  @Get()
  ready(): { status: 'ready' } {
    return { status: 'ready' };
  }
}
