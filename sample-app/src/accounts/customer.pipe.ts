import { BadRequestException, Injectable, type PipeTransform } from '@nestjs/common';
import type { Credentials } from './customer.js';

const NAME = /^[a-z0-9-]{1,64}$/;
const HANDLE = /^[\w-]{1,64}$/;
const SHORTEST_PASSWORD = 8;
const LONGEST_PASSWORD = 128;

@Injectable()
export class CredentialsPipe implements PipeTransform<unknown, Credentials> {
  transform(value: unknown): Credentials {
    const { name, password } = (value ?? {}) as { name?: unknown; password?: unknown };
    if (typeof name !== 'string' || !NAME.test(name)) {
      throw new BadRequestException('name must be 1 to 64 of a-z, 0-9 and -');
    }
    if (typeof password !== 'string' || password.length < SHORTEST_PASSWORD || password.length > LONGEST_PASSWORD) {
      throw new BadRequestException(`password must have ${SHORTEST_PASSWORD} to ${LONGEST_PASSWORD} characters`);
    }
    return { name, password };
  }
}

@Injectable()
export class HandlePipe implements PipeTransform<unknown, string> {
  transform(value: unknown): string {
    if (typeof value === 'string' && HANDLE.test(value)) return value;
    throw new BadRequestException('That is no handle of a device');
  }
}
