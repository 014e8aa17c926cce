import { connect } from 'node:net';

/** Asks a ZooKeeper server one of its four-letter questions; the server closes the connection after the answer. */
export function fourLetterWord(
  address: { host: string; port: number },
  word: string,
  timeoutMs = 1000,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const socket = connect(address, () => socket.write(word));
    socket.setTimeout(timeoutMs, () => socket.destroy(new Error(`No answer to ${word} within ${timeoutMs} ms`)));
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.once('error', reject);
    socket.once('close', () => resolve(Buffer.concat(chunks).toString('utf8')));
  });
}
