import { types } from 'node:util';
import { isLockstepError } from '@lockstep/core';
import {
  type Attributes,
  context,
  type Link,
  propagation,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';
import type { Message } from '../message.js';
import type { MessageRoute } from '../message-transport.js';

const SCOPE = '@lockstep';

export interface SpanSubject {
  readonly route: MessageRoute;
  /** `PointsService.grant` */
  readonly handler: string;
  readonly messages: readonly Message[];
  /** The how-manieth delivery; undefined for a batch. */
  readonly attempt: number | undefined;
}

/**
 * Runs `fn` in the span of one delivery. The first delivery of a message is a child of what published it. A repeated
 * one, or a batch, begins a trace of its own and is linked to what published its messages: a trace that lasts for days,
 * or belongs to a hundred requests, tells nothing.
 */
export async function messageSpan<T>(subject: SpanSubject, fn: () => Promise<T>): Promise<T> {
  const { route, messages, attempt } = subject;
  const isChild = messages.length === 1 && attempt === 1;
  const [first] = messages;
  const around = isChild && first ? propagation.extract(context.active(), first.headers) : context.active();
  const options = {
    kind: SpanKind.CONSUMER,
    attributes: attributesOf(subject),
    ...(isChild ? {} : { root: true, links: messages.flatMap(linkTo) }),
  };
  return trace.getTracer(SCOPE).startActiveSpan(`process ${route.topic}`, options, around, async (span) => {
    try {
      return await fn();
    } catch (error) {
      recordError(span, error);
      throw error;
    } finally {
      span.end();
    }
  });
}

function attributesOf({ route, handler, messages, attempt }: SpanSubject): Attributes {
  const [first] = messages;
  const single = messages.length === 1 && first ? { 'messaging.message.id': first.id } : {};
  return {
    'messaging.system': 'lockstep',
    'messaging.operation.type': 'process',
    'messaging.operation.name': 'process',
    'messaging.destination.name': route.topic,
    'messaging.consumer.group.name': route.consumer,
    'lockstep.handler': handler,
    ...(attempt === undefined ? { 'messaging.batch.message_count': messages.length } : { 'lockstep.attempt': attempt }),
    ...single,
  };
}

function linkTo({ id, headers }: Message): Link[] {
  const published = trace.getSpanContext(propagation.extract(ROOT_CONTEXT, headers));
  return published ? [{ context: published, attributes: { 'messaging.message.id': id } }] : [];
}

function recordError(span: Span, error: unknown): void {
  span.setStatus({ code: SpanStatusCode.ERROR });
  const type = types.isNativeError(error) ? error.name : '_OTHER';
  span.setAttribute('error.type', isLockstepError(error) ? error.code : type);
  if (types.isNativeError(error)) span.recordException(error);
}
