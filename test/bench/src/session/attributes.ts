/** What a logged-in session holds: about 1 KB, or 62 attributes of 1 KB each. */
export type SessionSize = 'small' | 'large';

/** The attribute that is read. */
export const NAME = 'Ada Lovelace';

/** The attribute of 1 KB that changes in a large session. */
export interface Draft {
  readonly revision: number;
  readonly text: string;
}

const LARGE_ATTRIBUTES = 62;
const LINE = 'Sixteen anchors, forty fathoms of chain and a lantern. ';

/** The same for every contestant. */
export function attributesOf(size: SessionSize): Readonly<Record<string, unknown>> {
  return size === 'small' ? SMALL : Object.fromEntries(largeAttributes());
}

export function nextDraft(draft: Draft | undefined): Draft {
  const revision = (draft?.revision ?? 0) + 1;
  return { revision, text: textOf(revision) };
}

const SMALL = {
  name: NAME,
  email: 'ada.lovelace@example.com',
  locale: 'en-GB',
  timeZone: 'Europe/London',
  roles: ['customer', 'reviewer', 'early-access'],
  visits: 0,
  preferences: { theme: 'dark', currency: 'GBP', newsletter: false, pageSize: 48, sort: 'relevance' },
  cart: ['anchor', 'chain', 'lantern', 'compass', 'sextant', 'barometer'].map((sku, index) => ({
    sku,
    quantity: index + 1,
    cents: 1999 + index,
  })),
  recentlySeen: Array.from({ length: 16 }, (_, index) => `/products/${2000 + index}/details`),
};

function* largeAttributes(): Generator<[string, unknown]> {
  yield ['name', NAME];
  yield ['visits', 0];
  yield ['draft', { revision: 0, text: textOf(0) } satisfies Draft];
  for (let index = 1; index < LARGE_ATTRIBUTES; index += 1) yield [`page${index}`, { index, text: textOf(index) }];
}

/** Another one each time, always as long. */
function textOf(revision: number): string {
  return `${revision} ${LINE.repeat(20)}`.slice(0, 990);
}
