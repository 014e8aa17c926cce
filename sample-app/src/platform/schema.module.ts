import { Module } from '@nestjs/common';
import { MallSchema } from './mall.schema.js';

@Module({ providers: [MallSchema], exports: [MallSchema] })
export class SchemaModule {}
