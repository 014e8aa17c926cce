import { ConfigurationError, checkedDriver, type DriverProvider } from '@lockstep/core';
import { describe, expect, it } from 'vitest';

describe('the error of a wrong option', () => {
  it.each(['redis://app:S3cr3t@redis:6379', 'redis://app:S3cr3t/p@ss@redis:6379', 'postgres://S3cr3t@db/shop'])(
    'does not show the credentials of %s',
    (url) => {
      for (const value of [url, { url }, [url]]) {
        const { message } = ConfigurationError.option('url', value, 'a URL');
        expect(message).toContain('://***@');
        expect(message).not.toMatch(/S3cr3t|p@ss/);
      }
    },
  );

  it('shows every other value as it is', () => {
    expect(ConfigurationError.option('ttl', '5 parsecs', 'a duration').message).toBe(
      "Option 'ttl' is '5 parsecs'; expected a duration.",
    );
  });
});

describe('checkedDriver', () => {
  it.each([[null], [undefined], ['redis'], [{}], [{ useFactory: 'redis' }], [{ useFactory: () => 1, inject: 'x' }]])(
    'refuses %j, which is no driver, by the name of the option',
    (value) => {
      const check = () => checkedDriver('store', value as unknown as DriverProvider<number>);
      expect(check).toThrow(ConfigurationError);
      expect(check).toThrow(/^Option 'store' is /);
    },
  );

  it('hands the injected values to the driver, which keeps its this', async () => {
    class Driver implements DriverProvider<number> {
      readonly inject = ['one', 'two'];
      private readonly factor = 10;
      useFactory(one: number, two: number): number {
        return (one + two) * this.factor;
      }
    }
    const { inject, useFactory } = checkedDriver('store', new Driver());
    expect(inject).toEqual(['one', 'two']);
    expect(await useFactory(1, 2)).toBe(30);
  });
});
