import { randomBytes, type ScryptOptions, scrypt, timingSafeEqual } from 'node:crypto';

const COST: ScryptOptions = { N: 16_384, r: 8, p: 1 };
const SALT_BYTES = 16;
const HASH_BYTES = 32;

/** What is kept of a password: `<salt>.<scrypt of it>`. */
export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(SALT_BYTES);
  return `${salt.toString('base64url')}.${(await derived(password, salt)).toString('base64url')}`;
}

/** @param kept undefined for a customer who does not exist, for whom it takes as long and is false */
export async function isPassword(password: string, kept: string | undefined): Promise<boolean> {
  const [salt = '', hash = ''] = (kept ?? '').split('.');
  const expected = Buffer.from(hash, 'base64url');
  const found = await derived(password, Buffer.from(salt, 'base64url'));
  return expected.length === HASH_BYTES && timingSafeEqual(found, expected);
}

function derived(password: string, salt: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(password, salt, HASH_BYTES, COST, (error, hash) => (error ? reject(error) : resolve(hash)));
  });
}
