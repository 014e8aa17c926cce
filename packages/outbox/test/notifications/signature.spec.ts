import { ConfigurationError } from '@lockstep/core';
import { newWebhookSecret, signedHeaders } from '@lockstep/outbox/notifications';
import { Webhook } from 'standardwebhooks';
import { describe, expect, it } from 'vitest';
import { checkedSecret, secretKey } from '../../src/notifications/signing/webhook-secret.js';
import {
  isSignedBy,
  isTimely,
  isWebhookId,
  signatureClaim,
} from '../../src/notifications/signing/webhook-signature.js';

const BODY = '{"text":"ü☃ \\u0000","n":1}';
const now = () => Math.floor(Date.now() / 1_000);
const secretOf = (bytes: number) => `whsec_${Buffer.alloc(bytes, 0xfb).toString('base64')}`;

describe('Signatures', () => {
  it.each([24, 25, 32, 64])('are what the official library makes and accepts, with a secret of %i bytes', (bytes) => {
    const secret = secretOf(bytes);
    const official = new Webhook(secret);
    const headers = signedHeaders({ id: 'msg_1', timestamp: now(), body: BODY }, [secret]);
    expect(official.verify(BODY, headers)).toEqual(JSON.parse(BODY));
    const at = new Date(1_767_225_600_000);
    expect(signedHeaders({ id: 'msg_1', timestamp: 1_767_225_600, body: BODY }, [secret])['webhook-signature']).toBe(
      official.sign('msg_1', at, BODY),
    );
  });

  it('of the official library are accepted, and nothing that was changed since', () => {
    const secret = newWebhookSecret();
    const headers = (id: string, timestamp: number) => ({
      'webhook-id': id,
      'webhook-timestamp': String(timestamp),
      'webhook-signature': `v1a,c2lnbmVk v1,${'A'.repeat(43)}= ${new Webhook(secret).sign('msg_1', new Date(5_000), BODY)}`,
    });
    const isAccepted = (id: string, timestamp: number, body: string, secrets: string[]) => {
      const claim = signatureClaim(headers(id, timestamp));
      return claim !== undefined && isSignedBy(claim, body, secrets);
    };
    expect(isAccepted('msg_1', 5, BODY, [newWebhookSecret(), secret])).toBe(true);
    expect(isAccepted('msg_2', 5, BODY, [secret])).toBe(false);
    expect(isAccepted('msg_1', 6, BODY, [secret])).toBe(false);
    expect(isAccepted('msg_1', 5, `${BODY} `, [secret])).toBe(false);
    expect(isAccepted('msg_1', 5, BODY, [newWebhookSecret()])).toBe(false);
    expect(isAccepted('msg_1', 5, BODY, [])).toBe(false);
  });

  it('are one for each secret, so that either side of a rotation can verify', () => {
    const secrets = [newWebhookSecret(), newWebhookSecret()];
    const headers = signedHeaders({ id: 'msg_1', timestamp: now(), body: BODY }, secrets);
    expect(headers['webhook-signature']?.split(' ')).toHaveLength(2);
    for (const secret of secrets) new Webhook(secret).verify(BODY, headers);
  });

  it.each<[what: string, headers: Record<string, string | string[] | undefined>]>([
    ['no id', { 'webhook-id': undefined }],
    ['two ids', { 'webhook-id': ['a', 'b'] }],
    ['an id that shifts the limits of what is signed', { 'webhook-id': 'msg_1.5' }],
    ['an id that breaks the line', { 'webhook-id': 'msg\r\nx: y' }],
    ['an endless id', { 'webhook-id': 'x'.repeat(257) }],
    ['no time', { 'webhook-timestamp': undefined }],
    ['a time that is no number', { 'webhook-timestamp': '1e3' }],
    ['a negative time', { 'webhook-timestamp': '-5' }],
    ['no signature', { 'webhook-signature': undefined }],
    ['a signature of a version that is not known', { 'webhook-signature': 'v1a,c2lnbmVk' }],
    ['too many signatures', { 'webhook-signature': Array(17).fill('v1,c2lnbmVk').join(' ') }],
  ])('are not even looked at with %s', (_what, headers) => {
    const whole = { 'webhook-id': 'msg_1', 'webhook-timestamp': '5', 'webhook-signature': 'v1,c2lnbmVk' };
    expect(signatureClaim(whole)).toBeDefined();
    expect(signatureClaim({ ...whole, ...headers })).toBeUndefined();
  });

  it('are timely within the tolerance, in both directions', () => {
    const claim = { id: 'msg_1', timestamp: 1_000, signatures: [] };
    expect([994_999, 995_000, 1_005_000, 1_005_001].map((at) => isTimely(claim, at, 5_000))).toEqual([
      false,
      true,
      true,
      false,
    ]);
  });

  it('need a secret of 24 to 64 bytes, and an error never shows one', () => {
    for (const bytes of [24, 64]) expect(secretKey(secretOf(bytes))).toHaveLength(bytes);
    for (const secret of [secretOf(23), secretOf(65), secretOf(32).slice(6), 'whsec_', 'whsec_ä', undefined, 5]) {
      expect(secretKey(secret)).toBeUndefined();
      expect(() => checkedSecret(secret, 'secret')).toThrow(ConfigurationError);
    }
    const cut = secretOf(25).replace(/=+$/, '');
    expect(() => checkedSecret(cut, 'secret')).toThrow(/^(?!.*whsec_\+)/);
    expect(new Set([newWebhookSecret(), newWebhookSecret()]).size).toBe(2);
  });

  it('take ids that fit into a header and hold no dot', () => {
    expect(['msg_1', 'a-b:c/d'].every(isWebhookId)).toBe(true);
    expect(['', 'a.b', 'a b', 'ü', 'a\n', 5].some(isWebhookId)).toBe(false);
  });
});
