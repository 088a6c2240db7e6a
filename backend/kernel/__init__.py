"""The foundation of every service: settings, database, errors, web, access. Imports no other
package of GitTix.
"""
