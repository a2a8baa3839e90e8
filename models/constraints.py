"""Creating tables together with their constraints.

Tortoise 1.1 writes `Meta.constraints` into a migration and then forgets them when it creates the table, without a
word (its issue 2272). A test asks both databases for every constraint that a model declares.
"""

from __future__ import annotations

from tortoise.migrations.constraints import CheckConstraint, UniqueConstraint
from tortoise.migrations.schema_editor.base import BaseSchemaEditor
from tortoise.migrations.schema_editor.base_postgres import BasePostgresSchemaEditor
from tortoise.migrations.schema_editor.data import ModelSqlData
from tortoise.migrations.schema_editor.sqlite import SqliteSchemaEditor
from tortoise.models import Model


class KeepsConstraints(BaseSchemaEditor):
    """CHECKs become part of the table, because SQLite cannot add one later; unique ones follow it."""

    _checks: tuple[str, ...] = ()

    def _get_model_sql_data(self, model: type[Model]) -> ModelSqlData:
        self._checks = tuple(
            self.CHECK_CONSTRAINT_CREATE_TEMPLATE.format(name=constraint.name, check=constraint.check)
            for constraint in model._meta.constraints
            if isinstance(constraint, CheckConstraint)
        )
        return super()._get_model_sql_data(model)

    def _get_inner_statements(self) -> list[str]:
        return [*super()._get_inner_statements(), *self._checks]

    async def create_model(self, model: type[Model]) -> None:
        await super().create_model(model)
        for constraint in model._meta.constraints:
            if isinstance(constraint, UniqueConstraint) and constraint.condition:
                await self._create_partial_index(model, constraint)
            elif isinstance(constraint, UniqueConstraint):
                await self.add_constraint(model, constraint)

    async def _create_partial_index(self, model: type[Model], constraint: UniqueConstraint) -> None:
        # Both of our databases know partial indexes; Tortoise's editors believe that only one of them does.
        columns = ", ".join(self.quote(name) for name in self._resolve_fields_to_columns(model, constraint.fields))
        await self._run_sql(
            f'CREATE UNIQUE INDEX "{constraint.name}" ON "{model._meta.db_table}" ({columns})'
            f" WHERE {constraint.condition};"
        )


class SqliteEditor(KeepsConstraints, SqliteSchemaEditor):
    pass


class PostgresEditor(KeepsConstraints, BasePostgresSchemaEditor):
    pass
