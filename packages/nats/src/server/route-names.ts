import { createHash } from 'node:crypto';
import type { MessageRoute } from '@lockstep/outbox';

/** What a route is called at the server. */
export interface RouteNames {
  readonly stream: string;
  /** All subjects of messages: one for each, so that the server finds the copy of a message that still waits. */
  readonly messages: string;
  /** The one subject that all messages had in the layout before; it is among `messages`. */
  readonly sharedSubject: string;
  /** Subject of the notes about single messages, followed by `.` and the message's number in the stream. */
  readonly notes: string;
}

const PLAIN = /^[a-z0-9][a-z0-9._-]{0,63}$/;
const PLAIN_ID = /^[A-Za-z0-9_-]{1,64}$/;

/**
 * Names for a route. A dot separates tokens of a subject and is forbidden in the name of a stream, so it becomes `~`,
 * which no topic contains; `=` stands between the parts. Names of any other form become a digest.
 */
export function routeNames(namespace: string, { topic, consumer }: MessageRoute): RouteNames {
  const [of, by] = [token(topic), token(consumer)];
  const subject = `${namespace}.route.${of}.${by}`;
  return {
    stream: `${namespace}=${of}=${by}`,
    messages: `${subject}.*`,
    sharedSubject: `${subject}.message`,
    notes: `${subject}.note`,
  };
}

/** The subject of one message: the same for the same id, and of no other. */
export function messageSubject({ sharedSubject }: RouteNames, id: string): string {
  return `${sharedSubject}=${PLAIN_ID.test(id) ? id : `~${digest(id)}`}`;
}

/** A short name that is the same for the same text and made of letters, digits, `_` and `-`. */
export function digest(text: string): string {
  return createHash('sha256').update(text).digest('base64url').slice(0, 22);
}

function token(name: string): string {
  return PLAIN.test(name) ? name.replaceAll('.', '~') : `~${digest(name)}`;
}
