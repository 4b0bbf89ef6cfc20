// SET_CONFIG carries octets a pixel in place of bits a pixel.
@@
expression fb;
@@
display_enable(...)
{
<+...
fb->format->cpp[0]
- * 8
...+>
}
