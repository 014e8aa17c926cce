import { randomBytes, randomUUID } from 'node:crypto';
import type { BrowserAnswer } from './browser.js';
import { CustomerDevice, type Place } from './customer-device.js';
import type { MallProcess } from './mall-process.js';
import type { Narrator } from './narrator.js';
import type { Stage } from './stage.js';

const CHOSEN = 'mall.preference.chosen';

/** Three instances of the mall, and what was told of what they were asked. */
interface Scene {
  readonly stage: Stage;
  readonly narrator: Narrator;
  readonly www: MallProcess;
  readonly order: MallProcess;
  readonly ask: (
    device: CustomerDevice,
    place: Place,
    call: string,
    body?: unknown,
  ) => Promise<BrowserAnswer | undefined>;
}

interface Account {
  readonly name: string;
  readonly password: string;
}

/** A customer is the same on every host and at every instance, until he is logged out, and not a moment longer. */
export async function session(stage: Stage, narrator: Narrator): Promise<void> {
  narrator.chapter('A login on www is there on order, at another instance; a revoked device and a logout stay so');
  // The second time that it is told a preference, order stands still before it answers.
  const [www, order] = await Promise.all([stage.openBeside(), stage.openBeside({ pauseAt: { name: CHOSEN, hit: 2 } })]);
  const scene: Scene = { stage, narrator, www, order, ask: asking(narrator) };
  const laptop = new CustomerDevice('laptop');
  const account = { name: `ann-${randomUUID().slice(0, 8)}`, password: randomBytes(12).toString('base64url') };
  const sku = await cartFollowsTheLogin(scene, laptop, account);
  await sideBySide(scene, laptop);
  await survivesItsInstance(scene, laptop, sku);
  await revoked(scene, laptop, account);
  await logoutStays(scene, laptop);
}

function asking(narrator: Narrator): Scene['ask'] {
  return async (device, place, call, body) => {
    // What a customer proves himself with is for nobody to read.
    const shown = body === undefined || /^POST \/(?:login|customers)/.test(call) ? '' : ` ${JSON.stringify(body)}`;
    narrator.sent(`${device.name}, ${place.site}.mall.localhost: ${call}${shown}`);
    const answer = await device.ask(place, call, body);
    narrator.received(answer ? `${answer.status} ${JSON.stringify(answer.body)}` : 'the connection broke');
    return answer;
  };
}

async function cartFollowsTheLogin(scene: Scene, laptop: CustomerDevice, account: Account): Promise<string> {
  const { stage, narrator, ask } = scene;
  const [www, order]: Place[] = [
    { site: 'www', at: scene.www },
    { site: 'order', at: scene.order },
  ];
  const sku = await stage.newProduct(5);
  await ask(laptop, www as Place, 'POST /cart/items', { sku, qty: 2 });
  await ask(laptop, www as Place, 'POST /customers', account);
  const login = await ask(laptop, www as Place, 'POST /login', account);
  const [cookie = ''] = login?.setCookies ?? [];
  narrator.received(`Set-Cookie: ${cookie.replace(/=[^;]*/, '=…')}`);
  const cart = await ask(laptop, order as Place, 'GET /cart');
  const isHis = cart?.body.of === 'customer' && JSON.stringify(cart.body.lines) === JSON.stringify([{ sku, qty: 2 }]);
  narrator.expect(
    "the cart filled on www before the login is the customer's on order, at another instance",
    isHis,
    cart,
  );
  return sku;
}

async function sideBySide({ narrator, www, order, ask }: Scene, laptop: CustomerDevice): Promise<void> {
  narrator.say('two requests at the same moment, to two instances');
  await Promise.all([
    ask(laptop, { site: 'www', at: www }, 'PUT /preferences/language', { value: 'fr' }),
    ask(laptop, { site: 'order', at: order }, 'PUT /preferences/currency', { value: 'CNY' }),
  ]);
  const both = await ask(laptop, { site: 'order', at: order }, 'GET /preferences');
  const isKept = both?.body.language === 'fr' && both.body.currency === 'CNY';
  narrator.expect('what both wrote is kept', isKept, both);
}

async function survivesItsInstance(
  { stage, narrator, www, order, ask }: Scene,
  laptop: CustomerDevice,
  sku: string,
): Promise<void> {
  await www.kill();
  narrator.say(`the instance that logged in died by ${await www.died()}`);
  const page = await ask(laptop, { site: 'order', at: order }, 'GET /checkout');
  const { lines = [], orderToken } = page?.body ?? {};
  const submit = { lines, orderToken };
  const placed = await ask(laptop, { site: 'order', at: order }, 'POST /checkout', submit);
  const left = await ask(laptop, { site: 'order', at: order }, 'GET /cart');
  const isOrdered = (placed?.body.orders as unknown[] | undefined)?.length === 1;
  narrator.expect('the session goes on without it, up to the order', isOrdered, placed);
  const isEmpty = (left?.body.lines as unknown[] | undefined)?.length === 0;
  const pieces = await stage.shopper().piecesLeft(sku);
  narrator.expect('what was ordered left the cart, and the shelf', isEmpty && pieces === 3, { left, pieces });
}

async function revoked(
  { stage, narrator, order, ask }: Scene,
  laptop: CustomerDevice,
  account: Account,
): Promise<void> {
  const first: Place = { site: 'www', at: { url: stage.baseUrl } };
  const phone = new CustomerDevice('phone');
  await ask(phone, first, 'POST /login', account);
  const list = await ask(laptop, { site: 'order', at: order }, 'GET /me/devices');
  const devices = (list?.body ?? []) as unknown as readonly { handle: string; isCurrent: boolean }[];
  narrator.expect('he is logged in on two devices', devices.length === 2, devices);
  const other = devices.find(({ isCurrent }) => !isCurrent);
  await ask(laptop, { site: 'order', at: order }, `DELETE /me/devices/${other?.handle}`);
  const refused = await ask(phone, first, 'GET /me');
  const mine = await ask(laptop, first, 'GET /me');
  narrator.expect("the next request of the revoked one is a visitor's", refused?.status === 401, refused);
  narrator.expect('the other one is still logged in', mine?.status === 200, mine);
}

async function logoutStays({ stage, narrator, order, ask }: Scene, laptop: CustomerDevice): Promise<void> {
  const first: Place = { site: 'www', at: { url: stage.baseUrl } };
  const before = laptop.copy();
  const slow = ask(before.copy(), { site: 'order', at: order }, 'PUT /preferences/language', { value: 'zh' });
  await order.reached(CHOSEN, 2);
  narrator.say('that instance is stopped (SIGSTOP) before it saves the session; meanwhile he logs out');
  await ask(laptop, first, 'POST /logout');
  narrator.say('the stopped one wakes up and goes on');
  order.wake();
  await slow;
  const refused = await ask(before, first, 'GET /me');
  narrator.expect('the cookie from before the logout is worth nothing', refused?.status === 401, refused);
  const preferences = await ask(before, first, 'GET /preferences');
  narrator.expect('what the slow request wrote is nowhere', preferences?.body.language === 'en', preferences);
}
