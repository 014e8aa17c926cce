/** Signs the cookies of every contestant that has some. */
export const SECRET = 'a secret that is long enough for a measurement';
