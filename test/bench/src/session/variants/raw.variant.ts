import { Controller, Get, Post } from '@nestjs/common';
import { type Draft, NAME, nextDraft } from '../attributes.js';
import type { Variant } from '../server.js';
import { type CountAnswer, type NameAnswer, nameAnswer, visitorAnswer } from './answers.js';

@Controller()
class AccountController {
  private visits = 0;
  private draft: Draft | undefined;

  @Post('login/:size')
  login(): void {}

  @Get('name')
  readName(): NameAnswer {
    return nameAnswer(NAME);
  }

  @Get('visitor')
  readVisitor(): { readonly known: boolean } {
    return visitorAnswer(undefined);
  }

  @Post('visits')
  countVisit(): CountAnswer {
    this.visits += 1;
    return { count: this.visits };
  }

  @Post('draft')
  writeDraft(): CountAnswer {
    this.draft = nextDraft(this.draft);
    return { count: this.draft.revision };
  }
}

class RawModule {}

/** No session at all: what HTTP itself costs. */
export function rawVariant(): Variant {
  return { module: { module: RawModule, controllers: [AccountController] } };
}
