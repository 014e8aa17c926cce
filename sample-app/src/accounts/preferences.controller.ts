import { checkpoint } from '@lockstep/core';
import { CurrentSession, type SessionRef } from '@lockstep/session';
import {
  BadRequestException,
  Body,
  Controller,
  Get,
  Injectable,
  NotFoundException,
  Param,
  type PipeTransform,
  Put,
} from '@nestjs/common';

const CHOICES = { language: ['en', 'fr', 'zh'], currency: ['EUR', 'CNY'] } as const;
type Preference = keyof typeof CHOICES;

@Injectable()
class PreferencePipe implements PipeTransform<unknown, Preference> {
  transform(value: unknown): Preference {
    if (value === 'language' || value === 'currency') return value;
    throw new NotFoundException('There is no such preference');
  }
}

/** How the shop is shown on this device: an attribute of the session for each, so that two that change do not meet. */
@Controller('preferences')
export class PreferencesController {
  @Get()
  all(@CurrentSession() session: SessionRef): Record<Preference, unknown> {
    return { language: session.get('language') ?? 'en', currency: session.get('currency') ?? 'EUR' };
  }

  @Put(':name')
  choose(
    @CurrentSession() session: SessionRef,
    @Param('name', PreferencePipe) name: Preference,
    @Body('value') value: unknown,
  ): Record<Preference, unknown> {
    const choices: readonly unknown[] = CHOICES[name];
    if (!choices.includes(value)) throw new BadRequestException(`${name} is one of ${choices.join(', ')}`);
    session.set(name, value);
    checkpoint('mall.preference.chosen', { name });
    return this.all(session);
  }
}
