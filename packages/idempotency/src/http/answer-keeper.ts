import { Incidents } from '@lockstep/core';
import { type HttpException, Inject, Injectable, StreamableFile } from '@nestjs/common';
import type { Execution } from '../execution.js';
import { IDEMPOTENCY_OPTIONS, type ResolvedIdempotencyOptions } from '../idempotency.options.js';
import { IdempotencyService } from '../idempotency.service.js';
import { AnswerCapture, type SentHead } from './answer-capture.js';
import { CapturedBody } from './captured-body.js';
import { listedHeaders, rawResponse } from './http-exchange.js';
import { answerOfExceptions, refusalOf } from './http-failure.js';
import type { KeptRoute } from './idempotent-routes.js';
import { type FastifyReply, ReplyCapture } from './reply-capture.js';
import { encodeAnswer, encodeBytes, encodeUnavailable, isStreaming, type StoredHeaders } from './stored-answer.js';
import { isTeeable, tee } from './tee.js';

/** What is used of a response of Express, and of a reply of Fastify. */
export interface AnyResponse {
  readonly statusCode: number;
  getHeader(name: string): unknown;
}

/** One execution and the response that its client waits for. */
export interface Exchange {
  readonly execution: Execution;
  readonly route: KeptRoute;
  readonly response: AnyResponse;
}

/**
 * Ends executions by what is answered: what the handler returned, threw, or wrote itself. The rule of statuses is one
 * for all three.
 */
@Injectable()
export class AnswerKeeper {
  constructor(
    @Inject(IdempotencyService) private readonly service: IdempotencyService,
    @Inject(IDEMPOTENCY_OPTIONS) private readonly options: ResolvedIdempotencyOptions,
    @Inject(Incidents) private readonly incidents: Incidents,
  ) {}

  /**
   * Before a result is sent. What can only be known from what is sent, a stream above all, is listened to: then the
   * execution ends when the answer does.
   */
  keepResult(exchange: Exchange, value: unknown): Promise<void> | undefined {
    const { response } = exchange;
    if (rawResponse(response).headersSent) {
      // It answers by itself although it was said not to, and nobody has listened.
      return this.end(exchange, response.statusCode, undefined, () => this.unavailable(exchange, 'sent by hand'));
    }
    if (isStreaming(value)) {
      this.listen(exchange, value).handlerOver();
      return undefined;
    }
    const { statusCode: status } = response;
    return this.end(exchange, status, value, () => this.encode(exchange, { status, value, isError: false }));
  }

  /** Before the handler of a route that answers by itself is called. */
  listen(exchange: Exchange, value?: unknown): AnswerCapture {
    const { execution, response, route } = exchange;
    const body = new CapturedBody(this.options.maxResponseBytes);
    const headerNames = this.options.replayHeaders;
    const raw = rawResponse(response);
    const answer: ListenedAnswer = { body, value, capture: undefined, reply: undefined };
    const capture = new AnswerCapture({
      raw,
      body,
      headerNames,
      isHandlersOwn: route.answersItself,
      onOver: (how) => this.over(exchange, answer, how),
      onUnsendable: (cause) => this.report('ANSWER_NOT_SENT', `the answer of ${execution.operation} was cut`, cause),
    });
    answer.capture = capture;
    const signal = (): AbortSignal => execution.signal;
    if (raw !== (response as object)) {
      answer.reply = new ReplyCapture({ reply: response as FastifyReply, capture, body, signal });
    }
    if (value instanceof StreamableFile && capture.mayHaveBody) teeFile(value, body, signal);
    return capture;
  }

  /** Before the exception filters answer. Never rejects. */
  async fail(exchange: Exchange, error: unknown, capture: AnswerCapture | undefined): Promise<void> {
    const sent = capture?.leave() ?? 'untouched';
    if (sent === 'whole') return;
    const { work } = exchange.execution;
    if (work) void this.outlive(exchange, work);
    else await this.judge(exchange, error, sent);
  }

  /**
   * An interceptor inside gave up on a handler that goes on: the client has its answer, but the key is held until there
   * is an end to judge. Its result passed no serializer, so it is shown to nobody.
   */
  private async outlive(exchange: Exchange, work: Promise<unknown>): Promise<void> {
    try {
      await work;
    } catch (error) {
      return this.judge(exchange, error, 'untouched');
    }
    const response = this.unavailable(exchange, 'that of a handler nobody waited for');
    return this.service.end(exchange.execution, { to: 'completed', response });
  }

  private async judge(exchange: Exchange, error: unknown, sent: 'untouched' | 'begun'): Promise<void> {
    const stored = (exception: HttpException): string =>
      sent === 'begun'
        ? this.unavailable(exchange, 'broken off by an error')
        : this.encode(exchange, { status: exception.getStatus(), value: exception.getResponse(), isError: true });
    await this.service.fail(exchange.execution, error, answerOfExceptions(stored));
  }

  private async over(exchange: Exchange, answer: ListenedAnswer, how: 'whole' | 'broken'): Promise<void> {
    const { body, value } = answer;
    if (how === 'broken') {
      if (body.hasSource) await body.ended();
      else body.lose('broken off: the connection was closed');
    }
    const head = headOf(exchange, answer, this.options.replayHeaders);
    if (exchange.route.answersItself) {
      return this.end(exchange, head.status, value, () => this.encodeSent(exchange, answer, head));
    }
    // The handler did its work and handed a stream on; what went wrong since concerns the answer, not the work.
    const hasFailed = head.status >= 500;
    const response = hasFailed
      ? this.unavailable(exchange, 'an error in place of a stream')
      : this.encodeSent(exchange, answer, head);
    return this.service.end(exchange.execution, { to: 'completed', response });
  }

  private encodeSent(exchange: Exchange, { body, reply }: ListenedAnswer, head: SentHead): string {
    const given = reply?.given;
    const isValue = given !== undefined && !given.isStream;
    if (body.lost && (body.hasSource || !isValue)) {
      return this.unavailable(exchange, body.lost.reason, body.lost.cause);
    }
    if (isValue) return this.encode(exchange, { ...given, isError: false }, given.headers);
    return encodeBytes(given ? 'stream' : 'raw', head, body.bytes());
  }

  /** A status that says "no" is judged as if it had been thrown. */
  private end(exchange: Exchange, status: number, value: unknown, stored: () => string): Promise<void> {
    const { execution } = exchange;
    if (status < 400) return this.service.end(execution, { to: 'completed', response: stored() });
    return this.service.fail(execution, refusalOf(status, value), answerOfExceptions(stored));
  }

  private encode(
    exchange: Exchange,
    answer: Parameters<typeof encodeAnswer>[0],
    headers: StoredHeaders = listedHeaders((name) => exchange.response.getHeader(name), this.options.replayHeaders),
  ): string {
    return encodeAnswer(answer, headers, this.options.maxResponseBytes, (reason, cause) =>
      this.reportLost(exchange, reason, cause),
    );
  }

  private unavailable(exchange: Exchange, reason: string, cause?: unknown): string {
    this.reportLost(exchange, reason, cause);
    return encodeUnavailable(exchange.response.statusCode);
  }

  private reportLost({ execution }: Exchange, reason: string, cause: unknown): void {
    const message = `the answer of ${execution.operation} is ${reason}; its repetition will be refused`;
    this.report('ANSWER_NOT_STORED', message, cause);
  }

  private report(code: string, message: string, cause: unknown): void {
    this.incidents.report({ code, source: 'idempotency.http', message, cause });
  }
}

interface ListenedAnswer {
  readonly body: CapturedBody;
  /** What the handler returned, where it returned anything that is sent. */
  readonly value: unknown;
  capture: AnswerCapture | undefined;
  reply: ReplyCapture | undefined;
}

/** Of a client that left before the first byte, the head is what it would have been. */
function headOf({ response }: Exchange, { capture, reply, value }: ListenedAnswer, names: readonly string[]): SentHead {
  const sent = reply?.given ?? capture?.head;
  if (sent) return sent;
  const { type, disposition } = value instanceof StreamableFile ? value.getHeaders() : {};
  const headers = listedHeaders((name) => response.getHeader(name), names);
  return {
    status: response.statusCode,
    headers: {
      ...(type === undefined ? {} : { 'content-type': type }),
      ...(disposition === undefined ? {} : { 'content-disposition': disposition }),
      ...headers,
    },
  };
}

/** In place, because Nest ends every stream of a handler that is not the one it sends. */
function teeFile(file: StreamableFile, body: CapturedBody, signal: () => AbortSignal): void {
  const source = file.getStream();
  if (!isTeeable(source)) return;
  const passed = tee(source, body, signal);
  file.getStream = () => passed;
}
