import { Idempotent } from '@lockstep/idempotency';
import { Controller, Headers, Post } from '@nestjs/common';
import { Exclude } from 'class-transformer';
import { type Observable, of } from 'rxjs';

class Profile {
  @Exclude()
  readonly password = 's3cret';

  constructor(
    readonly id: number,
    readonly name: string,
  ) {}
}

@Controller('profiles')
export class ProfilesController {
  private ids = 0;

  @Post('own')
  @Idempotent()
  async own(): Promise<Profile> {
    return new Profile(1, 'Ada');
  }

  @Post('list')
  @Idempotent()
  async list(): Promise<Profile[]> {
    return [new Profile(1, 'Ada')];
  }

  @Post('observed')
  @Idempotent()
  observed(): Observable<Profile> {
    return of(new Profile(1, 'Ada'));
  }

  @Post('of-user')
  @Idempotent()
  async ofUser(@Headers('x-user') user: string): Promise<Profile> {
    this.ids += 1;
    return new Profile(this.ids, user);
  }
}
