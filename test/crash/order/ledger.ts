import type { Client } from 'pg';
import type { OrderRequest } from './buyer.js';

interface OrderRow {
  readonly id: string;
  readonly buyer_id: string;
  readonly qty: number;
  readonly total_cents: number;
  readonly entries: number;
  readonly points: number | null;
}

/** Balances the books of one round: every sentence that comes back is a broken promise. */
export async function balance(
  database: Client,
  sku: string,
  pieces: number,
  requests: readonly OrderRequest[],
): Promise<string[]> {
  const orders = await ordersOf(database, sku);
  return [
    ...requests.flatMap((request) => checkRequest(request, orders)),
    ...orders.flatMap((order) => checkPoints(order)),
    ...(await checkStock(database, sku, pieces, orders, requests)),
    ...(await checkStrayPoints(database)),
    ...(await checkMessages(database)),
  ];
}

async function ordersOf(database: Client, sku: string): Promise<OrderRow[]> {
  const { rows } = await database.query<OrderRow>(
    `SELECT o.id, o.buyer_id, o.qty, o.total_cents,
            count(p.order_id)::int AS entries, max(p.points) AS points
     FROM mall_order o LEFT JOIN mall_points_entry p ON p.order_id = o.id
     WHERE o.sku = $1 GROUP BY o.id`,
    [sku],
  );
  return rows;
}

function checkRequest(request: OrderRequest, orders: readonly OrderRow[]): string[] {
  // Every request has a buyer of its own.
  const own = orders.filter((order) => order.buyer_id === request.buyer);
  const [order] = own;
  const name = `request ${request.key}`;
  const problems = request.odd.map((answer) => `${name} was answered ${answer}`);
  if (own.length > 1) problems.push(`${name} has ${own.length} orders`);
  if (request.orderIds.size > 1) problems.push(`${name} was answered with different orders`);
  if (request.orderIds.size === 1 && !request.orderIds.has(order?.id ?? '')) {
    problems.push(`${name} was told of an order that does not exist`);
  }
  if (request.soldOut && order) problems.push(`${name} was refused and has an order`);
  if (!request.soldOut && request.orderIds.size === 0) problems.push(`${name} never got an answer`);
  return problems;
}

function checkPoints({ id, entries, points, total_cents }: OrderRow): string[] {
  if (entries !== 1) return [`order ${id} has ${entries} points entries`];
  return points === Math.floor(total_cents / 100) ? [] : [`order ${id} has ${points} points for ${total_cents} cents`];
}

async function checkStock(
  database: Client,
  sku: string,
  pieces: number,
  orders: readonly OrderRow[],
  requests: readonly OrderRequest[],
): Promise<string[]> {
  const { rows } = await database.query<{ qty: number }>('SELECT qty FROM mall_stock WHERE sku = $1', [sku]);
  const left = rows[0]?.qty ?? Number.NaN;
  const sold = orders.reduce((sum, order) => sum + order.qty, 0);
  const problems = pieces - left === sold ? [] : [`${sku}: ${pieces} - ${left} pieces are gone, ${sold} were ordered`];
  const wronged = requests.filter((request) => request.soldOut && left >= request.qty);
  return [...problems, ...wronged.map((request) => `request ${request.key} was refused with ${left} pieces left`)];
}

async function checkStrayPoints(database: Client): Promise<string[]> {
  const { rows } = await database.query<{ order_id: string }>(
    'SELECT order_id FROM mall_points_entry p WHERE NOT EXISTS (SELECT FROM mall_order o WHERE o.id = p.order_id)',
  );
  return rows.map(({ order_id }) => `points were granted for order ${order_id}, which does not exist`);
}

/** Every message is done with, and none was given up. */
async function checkMessages(database: Client): Promise<string[]> {
  const { rows } = await database.query<{ pending: number; flying: number; dead: number }>(
    `SELECT (SELECT count(*)::int FROM lockstep_outbox) AS pending,
            (SELECT count(*)::int FROM lockstep_outbox_inflight) AS flying,
            (SELECT count(*)::int FROM lockstep_outbox_dead) AS dead`,
  );
  return rows.flatMap(({ pending, flying, dead }) => [
    ...(pending > 0 ? [`${pending} messages were never relayed`] : []),
    ...(flying > 0 ? [`${flying} messages were never acknowledged`] : []),
    ...(dead > 0 ? [`${dead} messages were given up`] : []),
  ]);
}
