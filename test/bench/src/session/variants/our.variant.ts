import { randomUUID } from 'node:crypto';
import { RedisModule } from '@lockstep/redis';
import { CurrentSession, SessionModule, type SessionRef } from '@lockstep/session';
import { redisSessionStore } from '@lockstep/session/redis';
import { Controller, Get, Param, Post } from '@nestjs/common';
import { attributesOf, type Draft, nextDraft, type SessionSize } from '../attributes.js';
import type { Variant } from '../server.js';
import { type CountAnswer, type NameAnswer, nameAnswer, visitorAnswer } from './answers.js';
import { SECRET } from './secret.js';

@Controller()
class AccountController {
  @Post('login/:size')
  async login(@CurrentSession() session: SessionRef, @Param('size') size: SessionSize): Promise<void> {
    for (const [name, value] of Object.entries(attributesOf(size))) session.set(name, value);
    await session.login({ id: randomUUID() });
  }

  @Get('name')
  readName(@CurrentSession() session: SessionRef): NameAnswer {
    return nameAnswer(session.get('name'));
  }

  @Get('visitor')
  readVisitor(@CurrentSession() session: SessionRef): { readonly known: boolean } {
    return visitorAnswer(session.get('name'));
  }

  @Post('visits')
  countVisit(@CurrentSession() session: SessionRef): CountAnswer {
    const count = (session.get<number>('visits') ?? 0) + 1;
    session.set('visits', count);
    return { count };
  }

  @Post('draft')
  writeDraft(@CurrentSession() session: SessionRef): CountAnswer {
    const draft = nextDraft(session.get<Draft>('draft'));
    session.set('draft', draft);
    return { count: draft.revision };
  }
}

class OurModule {}

export function ourVariant(redisUrl: string): Variant {
  return {
    module: {
      module: OurModule,
      imports: [
        RedisModule.forRoot({ url: redisUrl, namespace: 'bench' }),
        SessionModule.forRoot({ store: redisSessionStore(), keys: { current: '1', keys: { 1: SECRET } } }),
      ],
      controllers: [AccountController],
    },
  };
}
