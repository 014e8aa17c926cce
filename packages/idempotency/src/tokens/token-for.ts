/** What a token is bound to. */
export interface TokenFor {
  /** Which form it is for, a name of the program's: 1 to 64 letters, digits and `. _ : -`. */
  readonly purpose: string;
  /** Who may use it. */
  readonly scope: string;
}
