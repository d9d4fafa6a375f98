"""Markup that cannot be broken by what it holds."""

from medistill.report.markup import Html, element, together


def test_text_is_escaped_and_markup_is_not() -> None:
    assert element("p", "a < b", element("b", "c")) == "<p>a &lt; b<b>c</b></p>"
    assert together(["<", Html("<br>")]) == "&lt;<br>"


def test_attributes_are_escaped_and_none_is_left_out() -> None:
    assert element("a", href='"x"', class_="y", aria_label=None) == (
        '<a href="&quot;x&quot;" class="y"></a>'
    )


def test_void_tags_do_not_close() -> None:
    assert element("img", alt="") == '<img alt="">'
