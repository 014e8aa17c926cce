import { NotificationsModule } from '@lockstep/outbox/notifications';
import { postgresNotificationStore } from '@lockstep/outbox/notifications/postgres';
import { type DynamicModule, Module } from '@nestjs/common';
import { PARTNER_URL, PartnersService } from './partners.service.js';

export interface Partner {
  readonly url: string;
  /** `whsec_…`; the partner has it too. */
  readonly secret: string;
}

@Module({})
export class PartnersModule {
  /** @param worker whether this process sends */
  static forPartner({ url, secret }: Partner, worker: boolean): DynamicModule {
    const { protocol, hostname, port } = new URL(url);
    return {
      module: PartnersModule,
      imports: [
        NotificationsModule.forRoot({
          store: postgresNotificationStore(),
          secrets: [secret],
          run: { worker },
          // The partner of the tour lives on this very machine, which no notification may call by itself.
          targets: { allowHttp: protocol === 'http:', allow: [hostname], ...(port ? { ports: [Number(port)] } : {}) },
        }),
      ],
      providers: [PartnersService, { provide: PARTNER_URL, useValue: url }],
    };
  }
}
