import { checkpoint } from '@lockstep/core';
import { currentLease, DistributedLock, type Lease } from '@lockstep/lock';
import { Inject, Injectable } from '@nestjs/common';
import { Cron } from '@nestjs/schedule';
import { settlementTimeFrom } from '../platform/mall.config.js';
import { MallSchema } from '../platform/mall.schema.js';
import { MerchantAccountRepository } from './merchant-account.repository.js';
import type { Settlement } from './settlement.js';

@Injectable()
export class SettlementService {
  constructor(
    @Inject(MallSchema) private readonly schema: MallSchema,
    @Inject(MerchantAccountRepository) private readonly accounts: MerchantAccountRepository,
  ) {}

  /**
   * Credits the merchants with what was ordered on the days that are over. Every instance is called at night; the first
   * settles and the others skip. One that dies leaves the rest to the next call, once its lock has ended.
   *
   * All that writes an account takes this one lock: fences of two locks would say nothing about each other.
   *
   * @returns undefined when another instance is at it, or was two seconds ago: so far clocks may differ
   * @throws StaleFenceError when this instance stood still past its lease and another has gone on with its accounts
   */
  @Cron(settlementTimeFrom(process.env), { name: 'settlement', timeZone: 'UTC' })
  @DistributedLock({ key: () => 'settlement', wait: 0, onBusy: 'skip', minHold: '2s', maxHold: '30m' })
  async settle(): Promise<Settlement | undefined> {
    const lease = requireLease();
    await this.schema.ready();
    const through = await this.accounts.lastClosedDay();
    const merchants = await this.accounts.listUnsettled(through);
    let cents = 0;
    for (const merchant of merchants) {
      lease.assertHeld();
      cents += await this.settleOne(merchant, through, lease.fence);
    }
    return { through, accounts: merchants.length, cents };
  }

  /**
   * The claim raises the fence, so that of two who have claimed only the later one pays. It is committed at once: in one
   * transaction with what follows it would keep the row from the next instance for as long as this one stands still.
   */
  private async settleOne(merchant: string, through: string, fence: bigint): Promise<number> {
    await this.accounts.claim(merchant, fence);
    checkpoint('mall.settlement.claimed', { merchant });
    return this.accounts.pay(merchant, through, fence);
  }
}

function requireLease(): Lease {
  const lease = currentLease();
  if (!lease) throw new Error('A settlement runs under its lock');
  return lease;
}
