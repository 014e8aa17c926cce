import { type Link, propagation, ROOT_CONTEXT, trace } from '@opentelemetry/api';
import type { OutboxDelivery } from '../outbox-store.js';

/** More say nothing that the first ones do not say. */
const MOST_LINKS = 32;

/** Links to where the messages were published, as far as their headers tell. */
export function linksOf(deliveries: readonly OutboxDelivery[]): readonly Link[] {
  return deliveries.slice(0, MOST_LINKS).flatMap(({ message }): Link[] => {
    const context = trace.getSpanContext(propagation.extract(ROOT_CONTEXT, message.headers));
    return context ? [{ context, attributes: { 'messaging.message.id': message.id } }] : [];
  });
}
