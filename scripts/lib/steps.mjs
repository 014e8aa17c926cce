// Steps of a root script: each is named and timed, and what failed is known at the end.

/** Runs named steps one after another; `required` ones end the run when they fail, others only count. */
export class Steps {
  failed = [];

  /** Runs a step that answers with an exit code. A step that throws has failed, and says why. */
  async run(name, work, { required = false } = {}) {
    if (this.failed.some((step) => step.required)) return false;
    console.log(`\n── ${name}`);
    const startedAt = performance.now();
    const status = await exitCodeOf(work);
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
    console.log(`── ${name}: ${status === 0 ? 'ok' : 'FAILED'} (${seconds} s)`);
    if (status !== 0) this.failed.push({ name, required });
    return status === 0;
  }
}

async function exitCodeOf(work) {
  try {
    return await work();
  } catch (error) {
    console.error(error);
    return 1;
  }
}
