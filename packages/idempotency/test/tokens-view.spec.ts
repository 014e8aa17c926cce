import 'reflect-metadata';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { IdempotencyToken, IssueIdempotencyToken } from '@lockstep/idempotency';
import { Body, Controller, Get, Post, Render } from '@nestjs/common';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type HttpApp, send, startHttpApp } from './support/http-app.js';
import { ran, runs } from './support/orders.controller.js';

@Controller('page')
class Page {
  @Get()
  @Render('order')
  @IssueIdempotencyToken('order', { deliver: 'body.orderToken' })
  confirm(): object {
    return { sku: 'cup' };
  }

  @Post()
  @IdempotencyToken('order', { from: 'body.orderToken' })
  async submit(@Body() { sku }: { readonly sku: string }): Promise<object> {
    return { sku, times: ran('page') };
  }
}

/** A template engine in a line: the model as it is. */
function engine(_path: string, model: object, done: (error: null, text: string) => void): void {
  const { sku, orderToken } = model as Readonly<Record<string, string>>;
  done(null, `<input type="hidden" name="sku" value="${sku}"><input name="orderToken" value="${orderToken}">`);
}

function useViews(app: NestExpressApplication, directory: string): void {
  app.engine('form', engine);
  app.setBaseViewsDir(directory);
  app.setViewEngine('form');
}

describe('a page of a template', () => {
  let http: HttpApp;
  let views: string;
  beforeAll(async () => {
    views = await mkdtemp(join(tmpdir(), 'lockstep-views-'));
    await writeFile(join(views, 'order.form'), '');
    http = await startHttpApp({
      platform: 'express',
      controllers: [Page],
      configure: (app) => useViews(app as NestExpressApplication, views),
    });
  });
  afterAll(async () => {
    await http.close();
    await rm(views, { recursive: true });
  });

  it('has its token in a hidden field, which the form brings back, once', async () => {
    const page = await send(`${http.url}/page`, { method: 'GET' });
    expect(page.headers.get('cache-control')).toBe('no-store');
    const form = new URLSearchParams();
    for (const [, name = '', value = ''] of page.text.matchAll(/name="(\w+)" value="([\w-]+)"/g)) form.set(name, value);
    const post = () =>
      send(`${http.url}/page`, {
        raw: form.toString(),
        headers: { 'content-type': 'application/x-www-form-urlencoded' },
      });
    const answers = [await post(), await post()];
    expect(answers.map(({ status, text }) => [status, text])).toEqual([
      [201, '{"sku":"cup","times":1}'],
      [201, '{"sku":"cup","times":1}'],
    ]);
    expect(runs.get('page')).toBe(1);
  });
});
