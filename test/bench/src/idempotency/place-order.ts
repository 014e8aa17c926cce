const BODY = JSON.stringify({ sku: 'anchor', qty: 1 });

export function placeOrder(key?: string): string {
  const head = [
    'POST /orders HTTP/1.1',
    'Host: 127.0.0.1',
    'Content-Type: application/json',
    `Content-Length: ${BODY.length}`,
    ...(key === undefined ? [] : [`Idempotency-Key: ${key}`]),
  ];
  return `${head.join('\r\n')}\r\n\r\n${BODY}`;
}
