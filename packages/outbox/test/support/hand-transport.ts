import type { BatchHandler, Delivery, DeliveryOutcome, MessageRoute, MessageTransport } from '@lockstep/outbox';

/** Carries nothing: the test hands deliveries to a consumer, and is given the answers. */
export class HandTransport implements MessageTransport {
  readonly published: { readonly route: MessageRoute; readonly payload: string }[] = [];
  private readonly handlers = new Map<string, BatchHandler>();

  async publish(route: MessageRoute, messages: Parameters<MessageTransport['publish']>[1]) {
    for (const { payload } of messages) this.published.push({ route, payload });
    return messages.map(() => ({ outcome: 'accepted' as const }));
  }

  async consume({ topic, consumer }: MessageRoute, handler: BatchHandler) {
    this.handlers.set(`${topic}/${consumer}`, handler);
    return { close: async () => undefined };
  }

  isConsumed({ topic, consumer }: MessageRoute): boolean {
    return this.handlers.has(`${topic}/${consumer}`);
  }

  async hand({ topic, consumer }: MessageRoute, ...batch: readonly Delivery[]): Promise<readonly DeliveryOutcome[]> {
    const handler = this.handlers.get(`${topic}/${consumer}`);
    if (!handler) throw new Error(`nobody consumes ${topic} as ${consumer}`);
    return handler(batch);
  }

  async close(): Promise<void> {
    this.handlers.clear();
  }
}
