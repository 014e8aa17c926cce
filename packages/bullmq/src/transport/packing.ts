import type { MessageEnvelope, PublishOutcome } from '@lockstep/outbox';

export interface PackingLimits {
  readonly batchSize: number;
  readonly maxMessageBytes: number;
}

/** BullMQ sends and stores a job in one piece: past this size a job ends, whatever `batchSize` allows. */
const MAX_JOB_BYTES = 1_048_576;
/** Neither JSON in Postgres nor UTF-8 in Redis would give these back as they are. */
const UNSTORABLE = /[\0\p{Surrogate}]/u;

/** The reason why a message cannot travel, if there is one. */
export function refusal(message: MessageEnvelope, { maxMessageBytes }: PackingLimits): PublishOutcome | undefined {
  const bytes = sizeOf(message);
  if (bytes > maxMessageBytes) {
    return { outcome: 'rejected', reason: `the message has ${bytes} bytes; maxMessageBytes is ${maxMessageBytes}` };
  }
  if (texts(message).some((text) => UNSTORABLE.test(text))) {
    return { outcome: 'rejected', reason: 'the message contains a NUL character or half of a surrogate pair' };
  }
  return undefined;
}

/** Distributes messages over jobs, in order. */
export function packJobs(messages: readonly MessageEnvelope[], limits: PackingLimits): MessageEnvelope[][] {
  const jobs: MessageEnvelope[][] = [];
  let job: MessageEnvelope[] = [];
  let bytes = 0;
  for (const message of messages) {
    const size = sizeOf(message);
    if (job.length >= limits.batchSize || (job.length > 0 && bytes + size > MAX_JOB_BYTES)) {
      jobs.push(job);
      job = [];
      bytes = 0;
    }
    job.push(message);
    bytes += size;
  }
  if (job.length > 0) jobs.push(job);
  return jobs;
}

function texts({ id, topic, key, payload, headers }: MessageEnvelope): string[] {
  return [id, topic, key ?? '', payload, ...Object.keys(headers), ...Object.values(headers)];
}

function sizeOf(message: MessageEnvelope): number {
  return texts(message).reduce((bytes, text) => bytes + Buffer.byteLength(text), 0);
}
