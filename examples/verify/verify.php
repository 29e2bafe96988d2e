<?php
// Verifies a signed result of /v1/chat.
//
//   SIGNING_SECRET="$(streamer keys signing-secret show)" php verify.php "$X_SIGNATURE" < body.json
//
// Prints `genuine` (exit code 0) or `not genuine` (1). Copy `is_genuine`, and give it the body as it came, byte for byte
// (in WordPress: wp_remote_retrieve_body( $response ), wp_remote_retrieve_header( $response, 'x-signature' )).

const TOLERANCE_SECONDS = 300;

/** Whether $header, the value of X-Signature, is for these bytes, by this secret, and not older than the tolerance. */
function is_genuine( string $body, string $header, string $secret, ?int $now = null ): bool {
	$seconds = '';
	$given   = array();
	foreach ( explode( ',', $header ) as $part ) {
		$pair = explode( '=', $part, 2 );
		if ( 2 !== count( $pair ) ) {
			continue;
		}
		if ( 't' === $pair[0] ) {
			$seconds = $pair[1];
		} elseif ( 'v1' === $pair[0] ) {
			$given[] = $pair[1];
		}
	}
	if ( ! preg_match( '/^[0-9]{1,12}$/D', $seconds ) || abs( ( $now ?? time() ) - (int) $seconds ) > TOLERANCE_SECONDS ) {
		return false;
	}
	$result = json_decode( $body, true );
	if ( ! is_array( $result ) || ! is_string( $result['id'] ?? null ) ) {
		return false;
	}
	$wanted = hash_hmac( 'sha256', $seconds . '.' . $result['id'] . '.' . hash( 'sha256', $body ), $secret );
	// One of several signatures is enough: during a rotation there are two.
	foreach ( $given as $signature ) {
		if ( hash_equals( $wanted, $signature ) ) {
			return true;
		}
	}
	return false;
}

if ( isset( $_SERVER['SCRIPT_FILENAME'] ) && realpath( $_SERVER['SCRIPT_FILENAME'] ) === __FILE__ ) {
	$genuine = is_genuine( file_get_contents( 'php://stdin' ), $argv[1], getenv( 'SIGNING_SECRET' ) );
	echo $genuine ? "genuine\n" : "not genuine\n";
	exit( $genuine ? 0 : 1 );
}
