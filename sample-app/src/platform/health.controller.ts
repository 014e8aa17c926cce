import { Controller, Get } from '@nestjs/common';

/** Ready when `SchemaReadyGuard` lets a request through: the database answers and has the mall's tables. */
@Controller('health')
export class HealthController {
  @Get()
  ready(): { status: 'ready' } {
    return { status: 'ready' };
  }
}
