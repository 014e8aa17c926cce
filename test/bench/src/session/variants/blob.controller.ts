import { randomUUID } from 'node:crypto';
import { Controller, Get, Param, Post, Req, Session } from '@nestjs/common';
import { attributesOf, type Draft, nextDraft, type SessionSize } from '../attributes.js';
import { type CountAnswer, type NameAnswer, nameAnswer, visitorAnswer } from './answers.js';

interface Blob {
  name?: unknown;
  visits?: number;
  draft?: Draft;
  /** As `login` of ours: an id that was known before is worth nothing after. */
  regenerate(done: (error: unknown) => void): void;
}

/** The session as express-session and @fastify/session have it: one object, kept as one blob. */
@Controller()
export class BlobController {
  @Post('login/:size')
  async login(@Req() request: { session: Blob }, @Param('size') size: SessionSize): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      request.session.regenerate((error) => (error ? reject(error) : resolve()));
    });
    Object.assign(request.session, { user: { id: randomUUID() } }, attributesOf(size));
  }

  @Get('name')
  readName(@Session() session: Blob): NameAnswer {
    return nameAnswer(session.name);
  }

  @Get('visitor')
  readVisitor(@Session() session: Blob): { readonly known: boolean } {
    return visitorAnswer(session.name);
  }

  @Post('visits')
  countVisit(@Session() session: Blob): CountAnswer {
    session.visits = (session.visits ?? 0) + 1;
    return { count: session.visits };
  }

  @Post('draft')
  writeDraft(@Session() session: Blob): CountAnswer {
    session.draft = nextDraft(session.draft);
    return { count: session.draft.revision };
  }
}
