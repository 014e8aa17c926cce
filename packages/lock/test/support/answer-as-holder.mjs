// What a process of a crash test does when told: takes a lock, says what it knows of it, gives it back.
export function answerAsHolder(locks) {
  let lease;

  async function answer({ ask, key }) {
    if (ask === 'acquire') {
      lease = await locks.acquire(key);
      process.send({ acquired: lease.fence.toString() });
    }
    if (ask === 'state') process.send({ held: lease.isHeld(), aborted: lease.signal.aborted });
    if (ask === 'release') {
      await lease.release();
      process.send({ released: true });
    }
  }

  process.on('message', (question) => void answer(question));
  process.send({ ready: true });
}
