import type { Guarantee } from '@lockstep/core';
import { LockService } from './lock.service.js';

export const DISTRIBUTED_LOCK: Guarantee<LockService> = {
  name: 'DistributedLock',
  layer: 'lock',
  runtime: LockService,
  module: 'LockModule.forRoot(…)',
};
