import { createHash } from 'node:crypto';

const LONGEST_SLUG = 40;

/** `PaymentsService.wasPaid`: kept with half messages, so renaming either orphans those that are open. */
export function checkName(instance: object, method: string): string {
  return `${instance.constructor.name}.${method}`;
}

/** A valid name of a consumer, the same for the same class and method: `payments-service.refund.1f3a9c02`. */
export function compensatorName(instance: object, method: string): string {
  const name = checkName(instance, method);
  const digest = createHash('sha256').update(name).digest('hex').slice(0, 8);
  const slug = name
    .replace(/([a-z0-9])([A-Z])/g, '$1-$2')
    .toLowerCase()
    .replace(/[^a-z0-9._-]/g, '-')
    .replace(/^[^a-z0-9]+/, '')
    .slice(0, LONGEST_SLUG);
  return `${slug === '' ? 'compensator' : slug}.${digest}`;
}
