import 'reflect-metadata';
import { ConfigurationError, demandGuarantee } from '@lockstep/core';
import { Controller, Injectable } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { describe, expect, it } from 'vitest';
import { Scoped, ScopesModule } from './support/scoped.decorator.js';

const Marked: MethodDecorator = (target, property) =>
  demandGuarantee(target, property, { by: '@Marked', guarantee: { name: 'Scoped', runtime: 'scopes' } });

class Base {
  @Marked
  @Scoped()
  async run(): Promise<void> {}
}

async function boot(metadata: Parameters<typeof Test.createTestingModule>[0]): Promise<void> {
  const app = await Test.createTestingModule({ ...metadata, imports: [ScopesModule] }).compile();
  try {
    await app.init();
  } finally {
    await app.close();
  }
}

describe('a demand for a guarantee', () => {
  it('is met by a method that has it, inherited or not, and is not made of an override without the mark', async () => {
    @Injectable()
    class Inherits extends Base {}
    @Injectable()
    class Overrides extends Base {
      override async run(): Promise<void> {}
    }
    await boot({ providers: [Base, Inherits, Overrides] });
  });

  it('fails the boot where it is not met, on providers, controllers, factories and symbol-named methods', async () => {
    const RUN = Symbol('run');
    @Controller()
    class Lacks {
      @Marked
      async [RUN](): Promise<void> {}
    }
    @Injectable()
    class Overrides extends Base {
      @Marked
      override async run(): Promise<void> {}
    }
    const wrong = [
      { providers: [Lacks] },
      { controllers: [Lacks] },
      { providers: [{ provide: 'lacks', useFactory: () => new Lacks() }] },
    ];
    for (const metadata of wrong) {
      const refused = 'Lacks.Symbol(run) has @Marked but no @Scoped; put @Scoped on the method.';
      await expect(boot(metadata)).rejects.toThrow(new ConfigurationError(refused));
    }
    await expect(boot({ providers: [Overrides] })).rejects.toThrow('Overrides.run has @Marked but no @Scoped');
  });
});
