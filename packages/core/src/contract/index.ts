export {
  describeRetrySchedulerContract,
  type RetrySchedulerContract,
  type SchedulerEnds,
} from './retry-scheduler.contract.js';
