"""Shapes of pydantic 2, to the standard output, each checked by it. Run by pydantic.mjs, in a folder that has the libraries.

model_json_schema() is the library's own; to_strict_json_schema, of openai, makes schemas that are sent with `strict: true`.
"""
import json, re, uuid
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, Optional, TypeVar, Union

from openai.lib._pydantic import to_strict_json_schema
from pydantic import (UUID4, AnyUrl, AwareDatetime, Base64Bytes, BaseModel, ConfigDict, EmailStr, Field, HttpUrl, Json, NonNegativeInt, PastDate, PositiveInt,
                      RootModel, SecretStr, StringConstraints, ValidationError, computed_field, conint, conlist, constr, create_model,
                      field_validator, model_validator)
from pydantic.dataclasses import dataclass
from typing_extensions import TypedDict

ID = "3f2b8c1e-5d4a-4f6b-9c7d-8e1f2a3b4c5d"
NOW = "2026-03-01T09:30:00Z"
T = TypeVar("T")
SHAPES = []

def shape(name, instance, invalid=None, **options):
    """Of a model, which it gives back: valid and refused JSON."""
    def add(model):
        SHAPES.append((name, model, instance, invalid, options))
        return model
    return add

@shape("flat record", {"name": "Ada", "age": 36, "member": True}, {"name": "Ada", "age": "old", "member": True})
class User(BaseModel):
    name: str
    age: int
    member: bool

@shape("optional fields", {"title": "Dune", "year": None, "rating": 4.5}, {"title": None})
class Book(BaseModel):
    title: str
    year: Optional[int] = None
    rating: float | None = None

@shape("nullable fields", {"title": "Emma", "year": None}, {"title": "Emma", "year": "x"})
class Nullable(BaseModel):
    title: str
    year: Optional[int]

@shape("defaults", {"limit": 5, "order": "desc", "tags": ["a"]}, {"limit": 1.5})
class Defaults(BaseModel):
    limit: int = 10
    order: Literal["asc", "desc"] = "asc"
    tags: list[str] = Field(default_factory=list)

@shape("titles, descriptions and examples", {"city": "Rome", "days": 3}, {"city": "Rome", "days": "x"})
class Trip(BaseModel):
    """A trip
    of some days"""
    model_config = ConfigDict(title="Trip of one", json_schema_extra={"examples": [{"city": "Paris", "days": 2}]})
    city: str = Field(title="City", description='Such as "Paris"', examples=["Paris", "Rome"])
    days: int = Field(description="How many", json_schema_extra={"unit": "days"})

class Mood(str, Enum):
    GLAD = "glad"
    SAD = "sad"
    SO_SO = "so-so"
class Level(IntEnum):
    LOW = 1
    HIGH = 2
class Mixed(Enum):
    NONE = 0
    SOME = "some"

@shape("enum of strings", {"mood": "so-so"}, {"mood": "bored"})
class HasMood(BaseModel):
    mood: Mood

@shape("enums of integers and of both", {"level": 2, "mixed": "some"}, {"level": 3, "mixed": "some"})
class HasLevel(BaseModel):
    level: Level
    mixed: Mixed

@shape("enum with a default", {"mood": "sad", "last": None}, {"mood": "bored"})
class MoodByDefault(BaseModel):
    mood: Mood = Mood.GLAD
    last: Optional[Mood] = None

@shape("literals", {"kind": "order", "version": 2, "paid": True, "parent": None}, {"kind": "order", "version": 3, "paid": True, "parent": None})
class Literals(BaseModel):
    kind: Literal["order"]
    version: Literal[1, 2]
    paid: Literal[True]
    parent: None

@shape("union of primitives", {"id": "x", "value": [1, 2.5]}, {"id": None, "value": 1.5})
class Primitives(BaseModel):
    id: int | str
    value: Union[bool, float, list[float]]

class Email(BaseModel):
    email: EmailStr
class Phone(BaseModel):
    phone: str = Field(pattern=r"^\+\d{6,14}$")

@shape("union of models", {"contact": {"phone": "+4930123456"}}, {"contact": {"phone": "030"}})
class Contact(BaseModel):
    contact: Email | Phone

class Cat(BaseModel):
    type: Literal["cat"] = "cat"
    lives: int = Field(ge=0, le=9)
class Dog(BaseModel):
    type: Literal["dog"]
    tricks: list[str]

@shape("discriminated union", {"pet": {"type": "dog", "tricks": ["sit"]}}, {"pet": {"type": "dog", "lives": 3}})
class Owner(BaseModel):
    pet: Union[Cat, Dog] = Field(discriminator="type")

class Search(BaseModel):
    """Searches the web."""
    action: Literal["search"]
    query: str
class Open(BaseModel):
    action: Literal["open"]
    url: HttpUrl
class Answer(BaseModel):
    action: Literal["answer"]
    text: str
    sources: list[int]

@shape("steps of an agent", {"thought": "hm", "steps": [{"action": "open", "url": "https://example.org/a?b=c"}]}, {"thought": "hm", "steps": [{"action": "close"}]})
class Plan(BaseModel):
    thought: str
    steps: list[Annotated[Search | Open | Answer, Field(discriminator="action")]]

class Address(BaseModel):
    street: str
    city: str
    postcode: str = Field(pattern=r"^\d{5}$")
    country: str = Field(min_length=2, max_length=2)

@shape("nested models", {"name": "Ada", "address": {"street": "Main 1", "city": "Bonn", "postcode": "53111", "country": "DE"}},
       {"name": "Ada", "address": {"street": "Main 1", "city": "Bonn", "postcode": "5311", "country": "DE"}})
class Customer(BaseModel):
    name: str
    address: Address

@shape("the same model twice", {"billing": {"street": "A", "city": "B", "postcode": "12345", "country": "FR"}, "shipping": None}, {"billing": {"street": "A"}, "shipping": None})
class Order(BaseModel):
    billing: Address = Field(description="Who pays")
    shipping: Address | None = Field(default=None, description="Who gets it")

@shape("recursive model", {"name": "a", "children": [{"name": "b", "children": []}]}, {"name": "a", "children": [{"children": []}]})
class Category(BaseModel):
    name: str
    children: list["Category"]

@shape("recursive and optional", {"value": 1, "next": {"value": 2, "next": None}}, {"value": 1, "next": 2})
class Linked(BaseModel):
    value: int
    next: Optional["Linked"] = None

class Author(BaseModel):
    name: str
    works: list["Work"] = []
class Work(BaseModel):
    title: str
    authors: list[Author] = []

@shape("models of each other", {"author": {"name": "a", "works": [{"title": "b", "authors": []}]}}, {"author": {"works": []}})
class Library(BaseModel):
    author: Author

@shape("array with bounds", {"tags": ["a", "b"]}, {"tags": []})
class Tags(BaseModel):
    tags: Annotated[list[Annotated[str, StringConstraints(min_length=1, max_length=20)]], Field(min_length=1, max_length=5)]

@shape("array of a length", {"rgb": [0, 128, 255]}, {"rgb": [0, 128, 256]})
class Colour(BaseModel):
    rgb: conlist(conint(ge=0, le=255), min_length=3, max_length=3)

@shape("tuples", {"range": [1, 2.5], "more": ["a", "b"]}, {"range": ["x", 2], "more": []})
class Tuples(BaseModel):
    range: tuple[int, float]
    more: tuple[str, ...]

@shape("sets", {"roles": ["glad", "sad"], "words": ["x"]}, {"roles": ["bored"], "words": []})
class Sets(BaseModel):
    roles: set[Mood]
    words: frozenset[str] = Field(max_length=4)

@shape("dicts", {"labels": {"env": "prod"}, "counts": {"a": 1}}, {"labels": {"env": 1}, "counts": {}})
class Dicts(BaseModel):
    labels: dict[str, str]
    counts: dict[str, NonNegativeInt]

@shape("dict of models", {"by_id": {"x": {"name": "Ada", "age": 3, "member": False}}}, {"by_id": {"x": {"name": "Ada"}}})
class ById(BaseModel):
    by_id: dict[str, User]

@shape("dict with keys of a pattern", {"headers": {"x-trace": "1"}}, {"headers": {"x-trace": 1}})
class Headers(BaseModel):
    headers: dict[Annotated[str, StringConstraints(pattern=r"^x-[a-z-]+$")], str]

@shape("dict with keys of an enum", {"hours": {"mon": 8}}, {"hours": {"fri": 8}})
class Hours(BaseModel):
    hours: dict[Literal["mon", "tue"], Annotated[float, Field(ge=0, le=24)]]

@shape("any JSON", {"payload": {"a": [1, "x", None]}, "more": {"b": 1}}, {"payload": 1, "more": 1})
class Anything(BaseModel):
    payload: Any
    more: dict[str, Any]

@shape("dates and times", {"day": "2026-02-28", "at": NOW, "zoned": NOW, "clock": "09:30:00Z", "length": "PT1H30M"}, {"day": "x", "at": NOW, "zoned": NOW, "clock": "09:30:00Z", "length": "PT1H"})
class Moments(BaseModel):
    day: date
    at: datetime
    zoned: AwareDatetime
    clock: time
    length: timedelta

@shape("past dates and defaults of dates", {"born": "1990-02-28", "since": "2020-01-01"}, {"born": "x"})
class Past(BaseModel):
    born: PastDate
    since: date = date(2020, 1, 1)

@shape("emails, urls and uuids", {"email": "ada@example.org", "url": "https://example.org/", "any": "ftp://example.org/x", "id": ID, "v4": ID},
       {"email": "ada", "url": "https://example.org/", "any": "ftp://example.org/x", "id": ID, "v4": ID})
class Formats(BaseModel):
    email: EmailStr
    url: HttpUrl
    any: AnyUrl
    id: uuid.UUID
    v4: UUID4

@shape("addresses of machines", {"v4": "192.168.0.1", "v6": "::1", "net": "10.0.0.0/8"}, {"v4": "192.168.0.256", "v6": "::1", "net": "10.0.0.0/8"})
class Machines(BaseModel):
    v4: IPv4Address
    v6: IPv6Address
    net: IPv4Network

@shape("paths, bytes and secrets", {"path": "/tmp/a", "raw": "abc", "image": "aGVsbG8=", "password": "x"}, {"path": 1, "raw": "abc", "image": "aGVsbG8=", "password": "x"})
class Bytes(BaseModel):
    path: Path
    raw: bytes
    image: Base64Bytes
    password: SecretStr

@shape("decimals", {"price": "12.50", "rate": 0.5}, {"price": None, "rate": 0.5})
class Decimals(BaseModel):
    price: Decimal
    rate: Annotated[Decimal, Field(ge=0, le=1)]

@shape("decimals of some digits", {"amount": "12.50"}, {"amount": True})
class Amount(BaseModel):
    amount: Decimal = Field(max_digits=6, decimal_places=2)

@shape("numbers in bounds", {"score": 0.5, "kelvin": -3.5, "percent": 100, "step": 15, "port": 8080}, {"score": 1.5, "kelvin": 0, "percent": 1, "step": 5, "port": 1})
class Numbers(BaseModel):
    score: float = Field(ge=0, le=1)
    kelvin: float = Field(gt=-273.15)
    percent: int = Field(ge=0, le=100)
    step: int = Field(multiple_of=5)
    port: PositiveInt = Field(lt=65536)

@shape("patterns", {"sku": "ABC-0042", "slug": "a-b2", "word": "x_1", "part": "at v12"}, {"sku": "abc", "slug": "a-b2", "word": "x", "part": "v1"})
class Patterns(BaseModel):
    sku: str = Field(pattern=r"^[A-Z]{3}-\d{4}$")
    slug: str = Field(pattern=re.compile(r"^[a-z0-9]+(?:-[a-z0-9]+)*$"))
    word: constr(pattern=r"^\w+$", max_length=16)
    part: str = Field(pattern=r"v\d+")

@shape("strings in bounds", {"name": "Ada", "bio": ""}, {"name": "", "bio": ""})
class Strings(BaseModel):
    name: str = Field(min_length=1, max_length=100)
    bio: str = Field(max_length=500)

@shape("JSON in a string", {"data": "[1,2]"}, {"data": 1})
class JsonText(BaseModel):
    data: Json[list[int]]

class Page(BaseModel, Generic[T]):
    items: list[T]
    total: NonNegativeInt
    next: str | None = None

shape("generic page", {"items": [{"name": "Ada", "age": 1, "member": True}], "total": 1, "next": None}, {"items": [1], "total": 1})(Page[User])

class Success(BaseModel, Generic[T]):
    ok: Literal[True]
    value: T
class Failure(BaseModel):
    ok: Literal[False]
    error: str

@shape("generic result", {"result": {"ok": True, "value": [1]}}, {"result": {"ok": True, "error": "x"}})
class Outcome(BaseModel):
    result: Annotated[Success[list[int]] | Failure, Field(discriminator="ok")]

@shape("computed fields", {"width": 2, "height": 3, "area": 6}, {"width": 2, "height": 3, "area": "x"}, mode="serialization", read=lambda value: {key: value[key] for key in ("width", "height")})
class Rectangle(BaseModel):
    width: int
    height: int
    @computed_field
    @property
    def area(self) -> int:
        return self.width * self.height

@shape("aliases", {"userName": "ada", "$type": "x", "created-at": NOW}, {"user_name": "ada"})
class Aliases(BaseModel):
    user_name: str = Field(alias="userName")
    kind: str = Field(alias="$type")
    created_at: datetime = Field(validation_alias="created-at")

@shape("extra forbidden", {"a": "x"}, {"a": "x", "b": 1})
class Forbidden(BaseModel):
    model_config = ConfigDict(extra="forbid")
    a: str

@shape("extra allowed", {"a": "x", "b": [1]}, {"a": 1})
class Allowed(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: str

@shape("extra of a type", {"a": "x", "b": 1}, {"a": "x", "b": "y"})
class Typed(BaseModel):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, int]
    a: str

@shape("validators", {"password": "12345678", "again": "12345678"}, {"password": "1", "again": "1"})
class Validated(BaseModel):
    password: str = Field(min_length=8)
    again: str
    @field_validator("again")
    @classmethod
    def is_text(cls, value):
        return value.strip()
    @model_validator(mode="after")
    def are_same(self):
        if self.password != self.again:
            raise ValueError("expected the same twice")
        return self

@dataclass
class Point:
    x: float
    y: float = 0
class Size(TypedDict, total=False):
    width: int
    height: int

@shape("dataclasses and typed dicts", {"at": {"x": 1, "y": 2}, "size": {"width": 3}}, {"at": {"y": 2}, "size": {}})
class Placed(BaseModel):
    at: Point
    size: Size

class Base(BaseModel):
    id: PositiveInt
    created: datetime
class Line(BaseModel):
    text: str
    quantity: int = Field(ge=1, le=999)
    price: Decimal = Field(ge=0)

@shape("inherited invoices", {"id": 1, "created": NOW, "due": "2026-04-01", "currency": "EUR", "lines": [{"text": "Tea", "quantity": 2, "price": 6.25}]},
       {"id": 0, "created": NOW, "due": "2026-04-01", "currency": "EUR", "lines": []})
class Invoice(Base):
    due: date
    currency: Literal["EUR", "USD", "GBP"]
    lines: list[Line]

shape("a root of its own", {"a": [1]}, {"a": ["x"]})(RootModel[dict[str, list[int]]])

KINDS = [(str, "x"), (float, 1.5), (bool, True), (str | None, None)]
shape("forty fields", {f"field_{i}": KINDS[i % 4][1] for i in range(40)}, {"field_0": "x"})(
    create_model("Big", **{f"field_{i}": (KINDS[i % 4][0], ...) for i in range(40)}))

def is_valid(model, value):
    try:
        model.model_validate_json(json.dumps(value))
        return True
    except ValidationError:
        return False

made, found = [], []
for name, model, instance, invalid, options in SHAPES:
    read = options.get("read", lambda value: value)
    if not is_valid(model, read(instance)):
        found.append(f"{name}: its library refuses the instance")
    if invalid is not None and "read" not in options and is_valid(model, invalid):
        found.append(f"{name}: its library takes what is meant to be refused")
    mode = options.get("mode", "validation")
    schemas = {"plain": model.model_json_schema(mode=mode)}
    if mode == "validation":
        schemas["strict"] = to_strict_json_schema(model)
    made.append([name, schemas, instance, invalid])
if found:
    raise SystemExit("\n".join(found))
print(json.dumps(made))
